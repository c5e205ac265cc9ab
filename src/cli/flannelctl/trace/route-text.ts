// Answers of the kernel about routes and neighbours, in words. Pure.
import { type Address, familyOf } from "../../../ip/address.ts";
import type { NeighbourMessage } from "../../../netlink/rtnetlink/messages.ts";
import type { RouteAnswer } from "../../../netlink/rtnetlink/rtnetlink.ts";
import { routeTable, rtn } from "../../../netlink/uapi.ts";

const tables: Readonly<Record<number, string>> = {
  [routeTable.default]: "default",
  [routeTable.main]: "main",
  [routeTable.local]: "local",
};
const types: Readonly<Record<number, string>> = {
  [rtn.local]: "local ",
  [rtn.blackhole]: "blackhole ",
  [rtn.unreachable]: "unreachable ",
  [rtn.prohibit]: "prohibit ",
};
const refusals: Readonly<Record<string, string>> = {
  ENETUNREACH: "no route",
  EHOSTUNREACH: "unreachable",
  EACCES: "prohibited by a route or rule",
  EINVAL: "dropped: a blackhole route, or the source is not accepted there",
  EXDEV: "dropped: the source is not accepted there",
};

/** As `ip route get` tells it. */
export function answerText(answer: RouteAnswer, nameOf: (index: number | undefined) => string): string {
  if (answer.errno !== undefined) return refusals[answer.errno] ?? answer.errno;
  const { type, gateway, outIndex, nextHops = [], table, preferredSource, mtuBytes, nextHopId } = answer.route;
  const via = gateway ?? nextHops[0]?.gateway;
  return [
    `${types[type] ?? ""}${via === undefined ? "" : `via ${via} `}dev ${nameOf(outIndex ?? nextHops[0]?.outIndex)}`,
    ...(table === routeTable.main ? [] : [`table ${tables[table] ?? table}`]),
    ...(preferredSource === undefined ? [] : [`src ${preferredSource}`]),
    ...(mtuBytes === undefined ? [] : [`mtu ${mtuBytes}`]),
    ...(nextHopId === undefined ? [] : [`nhid ${nextHopId}`]),
  ].join(" ");
}

/** linux/neighbour.h: NUD_*. */
const states: readonly (readonly [number, string])[] = [
  [0x80, "PERMANENT"],
  [0x40, "NOARP"],
  [0x02, "REACHABLE"],
  [0x04, "STALE"],
  [0x08, "DELAY"],
  [0x10, "PROBE"],
  [0x20, "FAILED"],
  [0x01, "INCOMPLETE"],
];
const UNRESOLVED = 0x20 | 0x01;

export function neighbourText({ address, mac, state }: NeighbourMessage, device: string): string {
  const name = states.find(([bit]) => (state & bit) !== 0)?.[1] ?? "NONE";
  return `${address} dev ${device}${mac === undefined ? "" : ` lladdr ${mac}`} ${name}`;
}

/** Nobody answers for it. */
export function isUnresolved({ state }: NeighbourMessage): boolean {
  return (state & UNRESOLVED) !== 0;
}

/** `ip`, and for IPv6 `ip -6`. */
export function ipCommand(address: Address): string {
  return familyOf(address) === 6 ? "ip -6" : "ip";
}
