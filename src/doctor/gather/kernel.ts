// Facts that the kernel tells over netlink and in /proc, for `flannelctl doctor`.
import { setTimeout as delay } from "node:timers/promises";
import type { Address } from "../../ip/address.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import { readNeighbourTables } from "../../netlink/rtnetlink/neighbour-tables.ts";
import { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { readFileOrEmpty } from "../../sys/files.ts";
import { holderName, lockHolder } from "../../sys/lock-holder.ts";
import { type HostFacts, neighbourOverflows, type TableFacts } from "../host-facts.ts";
import type { UnderlayWay } from "../peer-facts.ts";

const MAX_WAYS = 2_000;
const SAMPLE_MS = 500;
const LOCK_MS = 1_100;

/** One socket for one look, in this thread's namespace. */
export async function withNetlink<T>(use: (netlink: Rtnetlink) => Promise<T>): Promise<T> {
  await using netlink = Rtnetlink.open();
  return await use(netlink);
}

export function readLinks(): Promise<HostFacts["links"]> {
  return withNetlink((netlink) => netlink.dump("link"));
}

export function readHostAddresses(): Promise<HostFacts["hostAddresses"]> {
  return withNetlink(async (netlink) => {
    const names = namesOf(await netlink.dump("link"));
    return await netlink.dumpAs("address", {}, ({ index, address, flags }) => {
      return { address, flags, device: names.get(index) ?? "?" };
    });
  });
}

export function readNeighbours(ownDevices: readonly string[]): Promise<HostFacts["neighbours"]> {
  return withNetlink(async (netlink) => {
    const names = namesOf(await netlink.dump("link"));
    return await netlink.dumpAs("neighbour", {}, ({ index, address, mac, state }) => {
      const device = names.get(index) ?? "?";
      if (ownDevices.includes(device)) return undefined;
      return { address, state, device, ...(mac !== undefined && { mac }) };
    });
  });
}

function namesOf(links: readonly LinkMessage[]): ReadonlyMap<number, string> {
  return new Map(links.map(({ index, name }) => [index, name]));
}

/** Of the peers' hosts that the kernel has a way to. */
export function readUnderlayWays(
  peers: readonly { readonly key: string; readonly address: Address }[],
): Promise<readonly UnderlayWay[]> {
  return withNetlink(async (netlink) => {
    const links = new Map((await netlink.dump("link")).map((link) => [link.index, link]));
    const asked = peers.slice(0, MAX_WAYS);
    const answers = await netlink.routeLookups(asked.map(({ address }) => ({ destination: address })));
    return asked.flatMap(({ key, address }, at) => {
      const route = answers[at]?.route;
      const hop = route?.nextHops?.[0];
      const link = links.get(route?.outIndex ?? hop?.outIndex ?? 0);
      if (route === undefined || link === undefined) return [];
      const gateway = route.gateway ?? hop?.gateway;
      return [
        {
          ...{ peer: key, address, device: link.name, deviceMtuBytes: link.mtuBytes },
          ...(link.kind !== undefined && { deviceKind: link.kind }),
          ...(route.mtuBytes !== undefined && { routeMtuBytes: route.mtuBytes }),
          ...(gateway !== undefined && { gateway }),
        },
      ];
    });
  });
}

export function readTables(): TableFacts {
  const used = numberIn("/proc/sys/net/netfilter/nf_conntrack_count");
  const max = numberIn("/proc/sys/net/netfilter/nf_conntrack_max");
  return used !== undefined && max !== undefined && max > 0 ? { conntrack: { used, max } } : {};
}

function numberIn(file: string): number | undefined {
  const value = Number(readFileOrEmpty(file).trim() || Number.NaN);
  return Number.isNaN(value) ? undefined : value;
}

export async function readCounters(): Promise<HostFacts["counters"]> {
  const before = countersNow();
  await delay(SAMPLE_MS);
  return new Map(
    [...countersNow()].map(([name, value]) => [name, { value, growth: Math.max(0, value - (before.get(name) ?? 0)) }]),
  );
}

function countersNow(): ReadonlyMap<string, number> {
  const counters = new Map<string, number>();
  for (const file of ["/proc/net/netstat", "/proc/net/snmp"]) addPairs(readFileOrEmpty(file), counters);
  addColumns(readFileOrEmpty("/proc/net/stat/nf_conntrack"), "nf_conntrack", counters);
  for (const { family, overflows } of readNeighbourTables()) counters.set(neighbourOverflows(family), overflows);
  return counters;
}

/** Two lines each: names, then values, both with a prefix (`TcpExt: …`). */
function addPairs(text: string, counters: Map<string, number>): void {
  const lines = text.split("\n");
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const [prefix = "", ...names] = (lines[at] ?? "").split(" ");
    const [, ...values] = (lines[at + 1] ?? "").split(" ");
    for (const [index, name] of names.entries())
      counters.set(`${prefix.replace(":", "")}.${name}`, Number(values[index]));
  }
}

/** A line of names, then one for each processor, in hexadecimal. */
function addColumns(text: string, table: string, counters: Map<string, number>): void {
  const [head = "", ...rows] = text.trim().split("\n");
  const prefix = table.replace("nf_", "");
  for (const [index, name] of head.trim().split(/\s+/).entries()) {
    const values = rows.map((row) => Number.parseInt(row.trim().split(/\s+/)[index] ?? "0", 16));
    counters.set(
      `${prefix}.${name}`,
      values.reduce((sum, value) => sum + value, 0),
    );
  }
}

/** Held by the same process at two moments; for an instant everybody holds it. */
export async function readLockHolder(): Promise<string | undefined> {
  const path = process.env["XTABLES_LOCKFILE"] ?? "/run/xtables.lock";
  const before = lockHolder(path);
  if (before === undefined) return undefined;
  await delay(LOCK_MS);
  const now = lockHolder(path);
  return now === undefined || now.pid !== before.pid ? undefined : holderName(now);
}
