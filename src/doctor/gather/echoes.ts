// Sends echoes to a few peers with the program ping: to the host outside of the tunnel, to its tunnel address, to its bridge.
// A second at most, two echoes a peer and kind; nothing of the peer is needed.
import { type Address, type Family, familyOf, type Prefix } from "../../ip/address.ts";
import { addToAddress, networkAddress } from "../../ip/prefix.ts";
import { rtn } from "../../netlink/uapi.ts";
import { findTool, tryTool } from "../../sys/run-tool.ts";
import type { EchoFacts, EchoResult } from "../peer-facts.ts";
import { whoHas } from "./arp-probe.ts";
import { withNetlink } from "./kernel.ts";
import { type LargeReply, sendLargeEchoes } from "./large-echoes.ts";

export interface EchoTarget {
  /** Key of the lease. */
  readonly peer: string;
  readonly subnet: Prefix;
  readonly address: Address;
  readonly isDirect: boolean;
  /** Packets of the network to it: largest inside, and around them. */
  readonly innerBytes: number;
  readonly outerBytes: number;
}

export interface EchoOptions {
  /** Of our bridges, by family; missing: none yet. */
  readonly bridges: Readonly<Partial<Record<Family, Address>>>;
  /** Of the external interface. */
  readonly hosts: Readonly<Partial<Record<Family, Address>>>;
  /** Of each ping. */
  readonly limitMs: number;
  /** The first ones of the targets. */
  readonly maxPeers: number;
}

const WAIT_SECONDS = 1;
const MANY = 6;

interface Ping {
  readonly path: string;
  readonly limitMs: number;
}

interface Reply {
  readonly result: EchoResult;
  readonly sent: number;
  readonly answered: number;
  readonly pathMtuBytes?: number;
}

/** Throws where this host has no ping. A few of the peers; the order of `targets` counts. */
export async function sendEchoes(targets: readonly EchoTarget[], options: EchoOptions): Promise<EchoFacts[]> {
  if (targets.length === 0 || options.maxPeers === 0) return [];
  const path = findTool("ping");
  if (path === undefined) throw new Error("this host has no program ping");
  const ping = { path, limitMs: options.limitMs };
  const asked = targets.slice(0, options.maxPeers);
  return await Promise.all(
    asked.map(async (target) => {
      // Together: most of the time is waiting for what does not come.
      const [echo, linkAnswers] = await Promise.all([echoOne(ping, target, options), askLink(target.address, options)]);
      return linkAnswers === undefined || echo.underlay === "answered" ? echo : { ...echo, linkAnswers };
    }),
  );
}

/** No filter for IP keeps a host from answering for its address; undefined where it is not on the link, or IPv6. */
async function askLink(address: Address, { hosts }: EchoOptions): Promise<readonly string[] | undefined> {
  const sender = hosts[4];
  if (familyOf(address) !== 4 || sender === undefined) return undefined;
  const device = await withNetlink(async (netlink) => {
    const [answer] = await netlink.routeLookups([{ destination: address }]);
    const { route } = answer ?? {};
    if (route === undefined || route.gateway !== undefined || route.type !== rtn.unicast) return undefined;
    const links = await netlink.dump("link");
    return links.find(({ index, isUp, isRunning }) => index === route.outIndex && isUp && isRunning);
  });
  if (device?.mac === undefined) return undefined;
  return await whoHas({
    address,
    sender,
    device: { index: device.index, mac: device.mac },
    own: new Set([device.mac]),
  });
}

async function echoOne(ping: Ping, target: EchoTarget, { bridges, hosts }: EchoOptions): Promise<EchoFacts> {
  const { peer, subnet, address, isDirect, innerBytes, outerBytes } = target;
  const family = familyOf(subnet);
  const tunnelAddress = networkAddress(subnet);
  const bridgeAddress = addToAddress(tunnelAddress, 1n);
  const few = ["-c", "2", "-i", "0.2"];
  const none: Reply = { result: "unknown", sent: 0, answered: 0 };
  const [bridge, host] = [bridges[family], hosts[family]];
  // Through a tunnel the answer to the host comes beside it, which strict reverse path filtering drops and counts.
  const large = [
    { target: address, packetBytes: outerBytes },
    ...(isDirect ? [] : [{ target: tunnelAddress, packetBytes: innerBytes }]),
  ];
  const unknown: LargeReply = { result: "unknown" };
  const [underlay, [largeUnderlay = unknown, largeTunnel = unknown], tunnel, fromBridge, fromHost] = await Promise.all([
    ask(ping, address, ["-c", String(MANY), "-i", "0.05"]),
    sendLargeEchoes(large),
    isDirect ? none : ask(ping, tunnelAddress, few),
    bridge === undefined ? none : ask(ping, bridgeAddress, [...few, "-I", bridge]),
    host === undefined || !isDirect ? none : ask(ping, bridgeAddress, [...few, "-I", host]),
  ]);
  const pathMtuBytes = largeUnderlay.pathMtuBytes;
  return {
    ...{ peer, family, subnet, address, isDirect, innerBytes, outerBytes },
    ...{ underlay: underlay.result, underlaySent: underlay.sent, underlayAnswered: underlay.answered },
    ...{ tunnel: tunnel.result, bridge: fromBridge.result, hostToBridge: fromHost.result },
    ...{ largeUnderlay: largeUnderlay.result, largeTunnel: largeTunnel.result },
    ...(pathMtuBytes !== undefined && { pathMtuBytes }),
  };
}

async function ask({ path, limitMs }: Ping, address: Address, words: readonly string[]): Promise<Reply> {
  const { stdout, stderr, exitCode } = await tryTool(
    path,
    ["-n", "-W", String(WAIT_SECONDS), ...words, address],
    "",
    limitMs,
  );
  return readReply(`${stdout}\n${stderr}`, exitCode);
}

/** Of iputils and busybox. Pure. */
export function readReply(text: string, exitCode: number): Reply {
  const [, sent, answered] = /(\d+) packets transmitted, (\d+) (?:packets )?received/.exec(text) ?? [];
  const mtu = /mtu ?= ?(\d+)/.exec(text)?.[1];
  const pathMtu = mtu === undefined ? {} : { pathMtuBytes: Number(mtu) };
  if (sent === undefined || answered === undefined) {
    const isRefused = /unreachable|not permitted|too long/i.test(text) && exitCode !== 0;
    return { result: isRefused ? "refused" : "unknown", sent: 0, answered: 0, ...pathMtu };
  }
  const result = Number(answered) > 0 ? "answered" : Number(sent) > 0 ? "lost" : "unknown";
  // While a neighbour is looked for, the first echoes wait and may be lost: that is no loss of the network.
  const first = Number(/(?:icmp_)?seq=(\d+) ttl=/.exec(text)?.[1] ?? 1);
  const early = Math.min(Math.max(0, first - 1), Number(sent) - Number(answered));
  return { result, sent: Number(sent) - (result === "answered" ? early : 0), answered: Number(answered), ...pathMtu };
}
