// A chain that hangs in a hook, of nf_tables or of legacy iptables, and its rules as far as they may concern the packets that are
// tried. Types and pure functions.

import type { Family } from "../ip/address.ts";
import type { Expression } from "../netlink/nftables/expressions.ts";
import { nfproto } from "../netlink/uapi.ts";
import type { Hook, TestWay } from "./hook-packets.ts";
import type { LoadedSet } from "./loaded-set.ts";
import { PacketView, type ViewOptions } from "./packet-view.ts";

export type TableFamily = "ip" | "ip6" | "inet" | "bridge" | "netdev";

export interface HookChain {
  readonly family: TableFamily;
  readonly table: string;
  readonly name: string;
  readonly hook: Hook;
  /** Lower ones come first. */
  readonly priority: number;
  /** Of ingress and egress: the devices it hangs at. */
  readonly devices: readonly string[];
  readonly dropsByPolicy: boolean;
  /** Legacy iptables keeps it, not nf_tables. */
  readonly isLegacy: boolean;
  /** Of type nat: it sees the first packet of each connection. */
  readonly translates: boolean;
}

export interface ScanRule {
  /** As `nft -a` shows it; of legacy iptables the place in the chain. */
  readonly handle: string;
  readonly expressions: readonly Expression[];
  /** For people, where it is known without asking. */
  readonly text?: string;
}

/** Rules that no packet of ours can match are left out. */
export interface LoadedChain {
  readonly rules: readonly ScanRule[];
  readonly sets: ReadonlyMap<string, LoadedSet>;
}

/** Where the rules of a base chain, and of those that it jumps to, come from. */
export interface RuleSource {
  /** Undefined: there is no such chain. */
  load(chain: HookChain, name: string): Promise<LoadedChain | undefined>;
}

const families: Readonly<Record<number, TableFamily>> = {
  [nfproto.ipv4]: "ip",
  [nfproto.ipv6]: "ip6",
  [nfproto.inet]: "inet",
  [nfproto.bridge]: "bridge",
  [nfproto.netdev]: "netdev",
};
const protocols: Readonly<Record<TableFamily, number>> = {
  ip: nfproto.ipv4,
  ip6: nfproto.ipv6,
  inet: nfproto.inet,
  bridge: nfproto.bridge,
  netdev: nfproto.netdev,
};
const ipHooks: readonly Hook[] = ["prerouting", "input", "forward", "output", "postrouting", "ingress"];
const deviceHooks: readonly Hook[] = ["ingress", "egress"];

/** Undefined: packets of ours never meet such a table. */
export function tableFamily(protocol: number): TableFamily | undefined {
  return families[protocol];
}

export function protocolOf(family: TableFamily): number {
  return protocols[family];
}

/** Undefined: a hook of a later kernel. */
export function hookOf(family: TableFamily, number: number): Hook | undefined {
  return (family === "netdev" ? deviceHooks : ipHooks)[number];
}

/** Where chains of type nat give packets another destination; elsewhere they change the source. */
export const rewritesAt: readonly Hook[] = ["prerouting", "output"];

const hookOrder: readonly Hook[] = ["ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"];

/** In the order in which a packet meets them. */
export function inOrder(chains: readonly HookChain[]): HookChain[] {
  return [...chains].sort((a, b) => hookOrder.indexOf(a.hook) - hookOrder.indexOf(b.hook) || a.priority - b.priority);
}

/** NF_IP_PRI_CONNTRACK. */
const TRACKING_PRIORITY = -200;

export function isBeforeTracking({ hook, priority }: HookChain): boolean {
  return hook === "ingress" || ((hook === "prerouting" || hook === "output") && priority < TRACKING_PRIORITY);
}

/** The packet as the chain sees it; undefined when it does not meet the packet. */
export function viewAt(
  chain: HookChain,
  way: TestWay,
  deviceIndex: ViewOptions["deviceIndex"],
): PacketView | undefined {
  const packet = packetAt(chain, way);
  if (packet === undefined) return undefined;
  const isTracked = chain.family === "bridge" || chain.hook === "egress" ? undefined : !isBeforeTracking(chain);
  return new PacketView(packet, { isTracked, deviceIndex });
}

function packetAt(
  { family, hook, devices, translates }: HookChain,
  { packet, hooks, bridgeHooks }: TestWay,
): TestWay["packet"] | undefined {
  if (translates && packet.state !== "new") return undefined;
  if (family === "bridge") {
    // Its devices are the ports.
    return bridgeHooks.includes(hook) ? { ...packet, incoming: undefined, outgoing: undefined } : undefined;
  }
  if (!hooks.includes(hook) || otherFamily[family] === packet.family) return undefined;
  switch (hook) {
    case "ingress":
      return passes(packet.incoming, devices) ? packet : undefined;
    case "egress":
      return passes(packet.outgoing, devices) ? packet : undefined;
    case "prerouting":
    case "input":
      return { ...packet, outgoing: "" };
    case "postrouting":
      // Kernels differ in whether the incoming device is still known there.
      return packet.incoming === "" ? packet : { ...packet, incoming: undefined };
    default:
      return packet;
  }
}

/** Whose packets a chain of one family does not see; chains of `inet` and `netdev` see both. */
const otherFamily: Readonly<Partial<Record<string, Family>>> = { ip: 6, ip6: 4 };

function passes(device: string | undefined, devices: readonly string[]): boolean {
  return device !== undefined && devices.includes(device);
}

/** A rule without any of these only counts or tells. */
const acting: ReadonlySet<Expression["type"]> = new Set(["verdict", "lookup", "setMark", "mark"]);

export function mayAct({ expressions }: ScanRule): boolean {
  return expressions.some(({ type }) => acting.has(type));
}
