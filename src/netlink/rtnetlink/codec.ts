// Every kind of rtnetlink object that can be listed and watched. Pure.
import { addressCodec } from "./address.ts";
import { deviceSettingsCodec } from "./device-settings.ts";
import { linkCodec } from "./link-message.ts";
import type { ObjectKind, ObjectKinds } from "./messages.ts";
import { fdbCodec, neighbourCodec } from "./neighbour.ts";
import { nextHopCodec } from "./next-hop.ts";
import type { ObjectCodec } from "./object-codec.ts";
import { routeCodec } from "./route.ts";
import { ruleCodec } from "./rule.ts";

export const objectCodecs: { readonly [K in ObjectKind]: ObjectCodec<ObjectKinds[K]> } = {
  link: linkCodec,
  address: addressCodec,
  route: routeCodec,
  neighbour: neighbourCodec,
  fdb: fdbCodec,
  nextHop: nextHopCodec,
  rule: ruleCodec,
  deviceSettings: deviceSettingsCodec,
};
