// Policy rules (RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE; struct fib_rule_hdr), and their text as `ip rule` prints it. Pure.
import {
  type Address,
  addressBits,
  type Family,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../ip/address.ts";
import { hostText } from "../../ip/prefix.ts";
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageWriter } from "../message-writer.ts";
import { ipFamily, type NetlinkRequest, writeAddress, writeFlags } from "../request.ts";
import {
  AF_INET,
  AF_INET6,
  FIB_RULE_INVERT,
  frAct,
  fra,
  nlm,
  routeProtocol,
  routeTable,
  rtm,
  rtnlGroup,
} from "../uapi.ts";
import type { RuleMessage } from "./messages.ts";
import { families, fits, type ObjectCodec } from "./object-codec.ts";

const HEADER_BYTES = 12;
const WHOLE_MARK = 0xffff_ffff;

export const ruleCodec: ObjectCodec<RuleMessage> = {
  newType: rtm.newRule,
  deleteType: rtm.delRule,
  groups: [rtnlGroup.ipv4Rule, rtnlGroup.ipv6Rule],
  decode: decodeRule,
  mayBeMissing: true,
  // One query for each family: without one the kernel adds the rules of multicast routing.
  queries: (filter) => families(filter).map((family) => (writer) => encodeRuleQuery(writer, family)),
  fits: (rule, filter) =>
    fits(filter.family, rule.family) && fits(filter.table, rule.table) && fits(filter.protocol, rule.protocol),
};

/** What is missing matches everything. */
export interface RuleSpec {
  readonly family: Family;
  /** Rules are asked in ascending order; the main table's has 32,766. */
  readonly priority: number;
  /** Host bits must be clear; both of `family`. */
  readonly from?: Prefix;
  readonly to?: Prefix;
  /** 32 bits. */
  readonly fwmark?: number;
  /** Bits of the mark that count; default all. */
  readonly fwmask?: number;
  /** Names; the devices need not exist. */
  readonly incomingDevice?: string;
  readonly outgoingDevice?: string;
  /** Applies to what the selectors do not match. */
  readonly isInverted?: boolean;
  /** Where matching packets are looked up. */
  readonly table: number;
  /** Routes of the table with a prefix this short do not count. */
  readonly suppressPrefixLength?: number;
  /** RTPROT_*, kept by kernels from 4.17 on; 0 in a deletion means any. */
  readonly protocol: number;
  /** FR_ACT_*; default is the look-up. */
  readonly action?: number;
}

/** Fails with `KERNEL_EXISTS` when there is one that equals it in everything. */
export function addRule(rule: RuleSpec): NetlinkRequest {
  return {
    encode: (writer) => encodeRule(writer, rtm.newRule, writeFlags.create, rule),
    describe: () => `add rule ${ruleText(rule)}`,
  };
}

/** Deletes the first rule that equals `rule` in all that is stated; a missing one is `KERNEL_NOT_FOUND`. */
export function deleteRule(rule: RuleSpec): NetlinkRequest {
  return {
    encode: (writer) => encodeRule(writer, rtm.delRule, nlm.request, rule),
    describe: () => `delete rule ${ruleText(rule)}`,
  };
}

function encodeRuleQuery(writer: MessageWriter, family: number): void {
  const start = writer.begin(rtm.getRule, nlm.request | nlm.dump);
  writer.u32(family);
  writer.zeros(HEADER_BYTES - 4);
  writer.end(start);
}

/** Which packets the rule is for; without any, for all. */
function writeSelectors(writer: MessageWriter, { from, to, ...rule }: RuleSpec): void {
  if (to !== undefined && prefixLength(to) > 0) writeAddress(writer, fra.destination, prefixAddress(to));
  if (from !== undefined && prefixLength(from) > 0) writeAddress(writer, fra.source, prefixAddress(from));
  if (rule.incomingDevice !== undefined) writer.textAttribute(fra.incomingDevice, rule.incomingDevice);
  if (rule.outgoingDevice !== undefined) writer.textAttribute(fra.outgoingDevice, rule.outgoingDevice);
  if (rule.fwmark !== undefined) {
    writer.u32Attribute(fra.fwmark, rule.fwmark);
    writer.u32Attribute(fra.fwmask, rule.fwmask ?? WHOLE_MARK);
  }
}

function encodeRule(writer: MessageWriter, type: number, flags: number, rule: RuleSpec): void {
  const { from, to, table } = rule;
  const start = writer.begin(type, flags);
  writer.u8(rule.family === 4 ? AF_INET : AF_INET6);
  writer.u8(to === undefined ? 0 : prefixLength(to));
  writer.u8(from === undefined ? 0 : prefixLength(from));
  writer.u8(0); // TOS
  writer.u8(table < 256 ? table : 0);
  writer.u16(0);
  writer.u8(rule.action ?? frAct.toTable);
  writer.u32(rule.isInverted === true ? FIB_RULE_INVERT : 0);
  writer.u32Attribute(fra.priority, rule.priority);
  writeSelectors(writer, rule);
  if (table > 0) writer.u32Attribute(fra.table, table);
  if (rule.suppressPrefixLength !== undefined) {
    writer.u32Attribute(fra.suppressPrefixLength, rule.suppressPrefixLength);
  }
  writer.u8Attribute(fra.protocol, rule.protocol);
  writer.end(start);
}

function decodeRule(view: DataView, start: number, end: number): RuleMessage | undefined {
  if (start + HEADER_BYTES > end) return undefined;
  const family = ipFamily(view.getUint8(start));
  const [toLength, fromLength] = [view.getUint8(start + 1), view.getUint8(start + 2)];
  if (family === undefined || Math.max(toLength, fromLength) > addressBits(family)) return undefined;
  const { to, from, hasOtherSelectors, ...found } = readAttributes(
    new AttributeReader(view, start + HEADER_BYTES, end),
    view.getUint8(start + 4),
  );
  const withLength = (address: Address | undefined, length: number): Prefix | undefined =>
    address === undefined || address.includes(":") !== (family === 6) ? undefined : makePrefix(address, length);
  const [toPrefix, fromPrefix] = [withLength(to, toLength), withLength(from, fromLength)];
  // A selector that cannot be read must not look like one that matches everything.
  if ((toLength > 0 && toPrefix === undefined) || (fromLength > 0 && fromPrefix === undefined)) return undefined;
  return {
    family,
    ...found,
    ...(toPrefix === undefined ? {} : { to: toPrefix }),
    ...(fromPrefix === undefined ? {} : { from: fromPrefix }),
    action: view.getUint8(start + 7),
    isInverted: (view.getUint32(start + 8, true) & FIB_RULE_INVERT) !== 0,
    hasOtherSelectors: hasOtherSelectors || view.getUint8(start + 3) !== 0,
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface Attributes extends Mutable<Omit<RuleMessage, "family" | "action" | "from" | "to" | "isInverted">> {
  to?: Address | undefined;
  from?: Address | undefined;
}

const otherSelectors: ReadonlySet<number> = new Set<number>([
  fra.tunnelId,
  fra.suppressInterfaceGroup,
  fra.userRange,
  fra.ipProtocol,
  fra.sourcePorts,
  fra.destinationPorts,
  fra.dscp,
]);

function readAttributes(reader: AttributeReader, headerTable: number): Attributes {
  const found: Attributes = {
    priority: 0,
    table: headerTable,
    protocol: 0,
    isL3mdev: false,
    hasOtherSelectors: false,
  };
  while (reader.next()) {
    if (otherSelectors.has(reader.type)) found.hasOtherSelectors = true;
    else readAttribute(reader, found);
  }
  // Of mark and mask the kernel leaves out what is 0.
  if (found.fwmask !== undefined) found.fwmark ??= 0;
  return found;
}

function readAttribute(reader: AttributeReader, found: Attributes): void {
  switch (reader.type) {
    case fra.destination:
      found.to = reader.address();
      break;
    case fra.source:
      found.from = reader.address();
      break;
    case fra.priority:
      found.priority = reader.u32() ?? 0;
      break;
    case fra.table:
      found.table = reader.u32() ?? found.table;
      break;
    case fra.protocol:
      found.protocol = reader.u8() ?? 0;
      break;
    case fra.incomingDevice:
      found.incomingDevice = reader.text();
      break;
    case fra.outgoingDevice:
      found.outgoingDevice = reader.text();
      break;
    case fra.l3mdev:
      found.isL3mdev = reader.u8() === 1;
      break;
    default:
      readNumber(reader, found);
  }
}

function readNumber(reader: AttributeReader, found: Attributes): void {
  const value = reader.u32();
  if (value === undefined) return;
  if (reader.type === fra.fwmark) found.fwmark = value;
  else if (reader.type === fra.fwmask) found.fwmask = value;
  else if (reader.type === fra.goto) found.gotoPriority = value;
  // All bits set: none.
  else if (reader.type === fra.suppressPrefixLength && value <= 128) found.suppressPrefixLength = value;
}

/** As `ip rule` prints it, on one line without tabs; selectors that are not read show as `...`. */
export function ruleText(rule: RuleSpec & Partial<RuleMessage>): string {
  const { fwmark, fwmask = WHOLE_MARK, to, incomingDevice, outgoingDevice, protocol } = rule;
  const parts = [`${rule.priority}:`];
  if (rule.isInverted === true) parts.push("not");
  parts.push("from", rule.from === undefined ? "all" : hostText(rule.from));
  if (to !== undefined) parts.push("to", hostText(to));
  if (fwmark !== undefined) {
    parts.push("fwmark", fwmask === WHOLE_MARK ? hexText(fwmark) : `${hexText(fwmark)}/${hexText(fwmask)}`);
  }
  if (incomingDevice !== undefined) parts.push("iif", incomingDevice);
  if (outgoingDevice !== undefined) parts.push("oif", outgoingDevice);
  if (rule.hasOtherSelectors === true) parts.push("...");
  parts.push(actionText(rule));
  // What the kernel and `ip rule add` make bears 2 and 3 or 0.
  if (protocol > routeProtocol.boot) parts.push("proto", String(protocol));
  return parts.join(" ");
}

function actionText(rule: RuleSpec & Partial<RuleMessage>): string {
  switch (rule.action ?? frAct.toTable) {
    case frAct.toTable: {
      if (rule.isL3mdev === true) return "lookup [l3mdev-table]";
      const suppress =
        rule.suppressPrefixLength === undefined ? "" : ` suppress_prefixlength ${rule.suppressPrefixLength}`;
      return `lookup ${tableText(rule.table)}${suppress}`;
    }
    case frAct.goto:
      return `goto ${rule.gotoPriority ?? "none"}`;
    case frAct.nop:
      return "nop";
    case frAct.blackhole:
      return "blackhole";
    case frAct.unreachable:
      return "unreachable";
    case frAct.prohibit:
      return "prohibit";
    default:
      return `action ${rule.action}`;
  }
}

/** The names that iproute2 comes with. */
export function tableText(table: number): string {
  if (table === routeTable.local) return "local";
  if (table === routeTable.main) return "main";
  return table === routeTable.default ? "default" : String(table);
}

/** As printf's %#x. */
function hexText(value: number): string {
  return value === 0 ? "0" : `0x${value.toString(16)}`;
}
