// Whether a packet matches the expressions of a rule as `nft -j` lists them: true, false, or undefined where that cannot be
// known (what a set holds, a match of iptables that nft cannot show). Pure; input is hostile.
import { addressToBigInt, tryParseAddress, tryParsePrefix } from "../ip/address.ts";
import { containsAddress } from "../ip/prefix.ts";
import type { TestPacket } from "./hook-packets.ts";
import { field } from "./nft-json.ts";

export type Answer = boolean | undefined;

/** Expressions that only count, tell or mark. */
const harmless = ["counter", "log", "mangle", "meter", "notrack", "secmark", "ct helper", "last", "flow"];
/** Values that a first, unmarked packet is known to have. Bits of `ct status` say that it was translated, which it was not. */
const FIRST_STATE = "new";

/** All expressions of a rule, its verdict left out. */
export function matchesAll(expressions: readonly unknown[], packet: TestPacket): Answer {
  let answer: Answer = true;
  for (const expression of expressions) {
    const one = matchesOne(expression, packet);
    if (one === false) return false;
    if (one === undefined) answer = undefined;
  }
  return answer;
}

function matchesOne(expression: unknown, packet: TestPacket): Answer {
  const match = field(expression, "match");
  if (match !== undefined) return matches(match, packet);
  if (harmless.some((name) => field(expression, name) !== undefined)) return true;
  const extension = field(expression, "xt");
  return field(extension, "type") === "match" && field(extension, "name") === "comment" ? true : undefined;
}

function matches(match: unknown, packet: TestPacket): Answer {
  const value = valueIn(field(match, "left"), packet);
  if (value === undefined) return undefined;
  if (value === absent) return false;
  const right = field(match, "right");
  const found = isAmong(value, right);
  switch (field(match, "op")) {
    case "==":
    case "in":
      return found;
    case "!=":
      return found === undefined ? undefined : !found;
    default:
      return undefined;
  }
}

/** The packet has no such thing: no comparison with it is true. */
const absent = Symbol("absent");
type Value = string | number | typeof absent | undefined;

function valueIn(left: unknown, packet: TestPacket): Value {
  const payload = field(left, "payload");
  if (payload !== undefined)
    return payloadOf(String(field(payload, "protocol")), String(field(payload, "field")), packet);
  const masked = field(left, "&");
  // Nobody has marked it yet, whatever the mask.
  if (Array.isArray(masked)) return metaKey(masked[0]) === "mark" ? 0 : undefined;
  const tracked = field(field(left, "ct"), "key");
  if (tracked === "state") return FIRST_STATE;
  if (tracked === "status") return "none";
  return metaOf(metaKey(left), packet);
}

function metaKey(left: unknown): unknown {
  return field(field(left, "meta"), "key");
}

function metaOf(key: unknown, packet: TestPacket): Value {
  switch (key) {
    case "iifname":
    case "iif":
      return packet.incoming;
    case "oifname":
    case "oif":
      return packet.outgoing;
    case "mark":
      return 0;
    case "l4proto":
      return packet.protocol;
    case "nfproto":
      return packet.family === 4 ? "ipv4" : "ipv6";
    case "protocol":
      return etherType(packet);
    default:
      return undefined;
  }
}

function etherType({ family }: TestPacket): string {
  return family === 4 ? "ip" : "ip6";
}

function payloadOf(protocol: string, name: string, packet: TestPacket): Value {
  const isIp = protocol === "ip" || protocol === "ip6";
  if (isIp && protocol !== etherType(packet)) return absent;
  if (isIp && name === "saddr") return packet.source;
  if (isIp && name === "daddr") return packet.destination;
  if (isIp && (name === "protocol" || name === "nexthdr")) return packet.protocol;
  if (protocol === "ether" && name === "type") return etherType(packet);
  if (protocol === "arp" || protocol === "icmp" || protocol === "icmpv6") return absent;
  if (protocol === "tcp" || protocol === "udp") if (protocol !== packet.protocol) return absent;
  if (["tcp", "udp", "th"].includes(protocol) && name === "dport") return packet.destinationPort;
  return undefined;
}

/** `right`: a value, a prefix, a range, a set of these written out, or a name of one. */
function isAmong(value: string | number, right: unknown): Answer {
  if (Array.isArray(right)) return someOf(right, value);
  const members = field(right, "set");
  if (Array.isArray(members)) return someOf(members, value);
  const range = field(right, "range");
  if (Array.isArray(range)) return isInRange(value, range[0], range[1]);
  const prefix = field(right, "prefix");
  if (prefix !== undefined) {
    const parsed = tryParsePrefix(`${String(field(prefix, "addr"))}/${String(field(prefix, "len"))}`);
    const address = tryParseAddress(String(value));
    return parsed === undefined || address === undefined ? undefined : containsAddress(parsed, address);
  }
  const element = field(field(right, "elem"), "val");
  if (element !== undefined) return isAmong(value, element);
  if (typeof right === "number") return value === right;
  if (typeof right !== "string" || right.startsWith("@")) return undefined;
  return isEqualText(value, right);
}

function isEqualText(value: string | number, right: string): Answer {
  if (right.endsWith("*")) return String(value).startsWith(right.slice(0, -1));
  if (String(value) === right) return true;
  const [a, b] = [tryParseAddress(String(value)), tryParseAddress(right)];
  if (a !== undefined && b !== undefined) return a === b;
  // A number beside a name, such as a service of /etc/services: who knows.
  return typeof value === "number" ? undefined : false;
}

function someOf(members: readonly unknown[], value: string | number): Answer {
  let answer: Answer = false;
  for (const member of members) {
    const one = isAmong(value, member);
    if (one === true) return true;
    if (one === undefined) answer = undefined;
  }
  return answer;
}

function isInRange(value: string | number, from: unknown, to: unknown): Answer {
  if (typeof value === "number")
    return typeof from === "number" && typeof to === "number" ? from <= value && value <= to : undefined;
  // Addresses: told by what lies outside only where the texts are addresses.
  const [address, first, last] = [value, from, to].map((text) => tryParseAddress(String(text)));
  if (address === undefined || first === undefined || last === undefined) return undefined;
  return compareAddresses(first, address) <= 0 && compareAddresses(address, last) <= 0;
}

function compareAddresses(a: string, b: string): number {
  const [x, y] = [a, b].map((text) => addressNumber(text));
  return x === undefined || y === undefined ? 0 : x < y ? -1 : x > y ? 1 : 0;
}

function addressNumber(text: string): bigint | undefined {
  const parsed = tryParseAddress(text);
  return parsed === undefined ? undefined : addressToBigInt(parsed);
}
