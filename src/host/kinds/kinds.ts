// Every kind of kernel object that can be wanted on a host, in the order of adding; removal goes the other way.
import { addressKind } from "./address.ts";
import { blackholeKind } from "./blackhole.ts";
import { deviceSettingsKind } from "./device-settings.ts";
import { fdbKind } from "./fdb.ts";
import type { Kind } from "./kind.ts";
import { linkKind } from "./link.ts";
import { neighbourKind } from "./neighbour.ts";
import { routeKind } from "./route.ts";
import { ruleKind } from "./rule.ts";
import { sysctlKind } from "./sysctl.ts";
import { wireguardKind } from "./wireguard.ts";
import { wireguardPeerKind } from "./wireguard-peer.ts";
import { xfrmPolicyKind } from "./xfrm-policy.ts";

const inOrder = [
  linkKind,
  deviceSettingsKind,
  sysctlKind,
  addressKind,
  wireguardKind,
  wireguardPeerKind,
  xfrmPolicyKind,
  neighbourKind,
  fdbKind,
  routeKind,
  blackholeKind,
  ruleKind,
] as const;

export const hostKinds: readonly Kind[] = inOrder;

export type HostKind = (typeof inOrder)[number]["name"];
type KindOf<K extends HostKind> = Extract<(typeof inOrder)[number], { readonly name: K }>;

/** What is found of the kind. */
export type Observed<K extends HostKind> = KindOf<K> extends Kind<string, infer _, infer O> ? O : never;

/** What a planner writes for an object of the kind. */
export type Desired<K extends HostKind> = KindOf<K> extends Kind<string, infer D, infer _> ? D : never;
