// Chains, rules, sets and their elements out of nf_tables' messages, and the questions for them. Pure; input is hostile: what is
// too short or not known is left out or unknown, never an error.
import { AttributeReader } from "../attribute-reader.ts";
import type { MessageFrame } from "../message-frames.ts";
import type { MessageWriter } from "../message-writer.ts";
import {
  NFNL_SUBSYS_NFTABLES,
  NFT_TABLE_DORMANT,
  nfta,
  nftaChain,
  nftaElement,
  nftaHook,
  nftaRule,
  nftaSet,
  nftaSetElements,
  nftaTable,
  nftElementFlag,
  nftMessage,
  nftVerdict,
  nlm,
} from "../uapi.ts";
import type { Expression, KernelChain, KernelElement, KernelRule, KernelSet, RuleVerdict } from "./expressions.ts";
import { readExpression } from "./read-expression.ts";
import { readData } from "./rule-data.ts";

/** struct nfgenmsg: family, version, resource id. */
const HEADER_BYTES = 4;
const LIST_ELEMENT = 1;

export function typeOfMessage(frame: MessageFrame): number | undefined {
  return frame.type >> 8 === NFNL_SUBSYS_NFTABLES ? frame.type & 0xff : undefined;
}

function attributesOf(view: DataView, { start, end }: MessageFrame): AttributeReader {
  return new AttributeReader(view, start + HEADER_BYTES, end);
}

/** `2 filter` of a table whose chains do not hang in their hooks; undefined of others. */
export function decodeDormantTable(view: DataView, frame: MessageFrame): string | undefined {
  const reader = attributesOf(view, frame);
  let [table, flags] = ["", 0];
  while (reader.next()) {
    if (reader.type === nfta.table) table = reader.text();
    else if (reader.type === nftaTable.flags) flags = reader.u32BigEndian() ?? 0;
  }
  return (flags & NFT_TABLE_DORMANT) === 0 ? undefined : `${view.getUint8(frame.start)} ${table}`;
}

export function decodeChain(view: DataView, frame: MessageFrame): KernelChain | undefined {
  const reader = attributesOf(view, frame);
  let [table, name, type]: (string | undefined)[] = [];
  let hook: Omit<NonNullable<KernelChain["hook"]>, "type" | "dropsByPolicy"> | undefined;
  let policy: number = nftVerdict.accept;
  while (reader.next()) {
    switch (reader.type) {
      case nfta.table:
        table = reader.text();
        break;
      case nftaChain.name:
        name = reader.text();
        break;
      case nftaChain.type:
        type = reader.text();
        break;
      case nftaChain.policy:
        policy = reader.u32BigEndian() ?? policy;
        break;
      case nftaChain.hook:
        hook = readHook(reader.nested());
        break;
    }
  }
  if (table === undefined || name === undefined) return undefined;
  const family = view.getUint8(frame.start);
  if (hook === undefined) return { family, table, name };
  return { family, table, name, hook: { ...hook, type: type ?? "", dropsByPolicy: policy === nftVerdict.drop } };
}

function readHook(reader: AttributeReader): Omit<NonNullable<KernelChain["hook"]>, "type" | "dropsByPolicy"> {
  let [number, priority] = [-1, 0];
  const devices: string[] = [];
  while (reader.next()) {
    switch (reader.type) {
      case nftaHook.number:
        number = reader.u32BigEndian() ?? number;
        break;
      case nftaHook.priority:
        priority = (reader.u32BigEndian() ?? 0) | 0;
        break;
      case nftaHook.device:
        devices.push(reader.text());
        break;
      case nftaHook.devices:
        devices.push(...readNames(reader.nested()));
        break;
    }
  }
  return { number, priority, devices };
}

function readNames(list: AttributeReader): string[] {
  const names: string[] = [];
  while (list.next()) if (list.type === LIST_ELEMENT) names.push(list.text());
  return names;
}

/**
 * Undefined when `isWanted` says no to what has been read: it is asked after each expression that may end the rule, so that of
 * tens of thousands of rules few are read to their end.
 */
export function decodeRule(
  view: DataView,
  frame: MessageFrame,
  isWanted: (soFar: readonly Expression[]) => boolean,
): KernelRule | undefined {
  const reader = attributesOf(view, frame);
  let handle = "";
  const expressions: Expression[] = [];
  while (reader.next()) {
    if (reader.type === nftaRule.handle) handle = readHandle(view, reader);
    else if (reader.type === nftaRule.expressions && !readExpressions(view, reader.nested(), expressions, isWanted)) {
      return undefined;
    }
  }
  return { handle, expressions };
}

/** False as soon as `isWanted` says no to what has been read into `expressions`. */
function readExpressions(
  view: DataView,
  list: AttributeReader,
  expressions: Expression[],
  isWanted: (soFar: readonly Expression[]) => boolean,
): boolean {
  while (list.next()) {
    if (list.type !== LIST_ELEMENT) continue;
    const read = readExpression(view, list.nested());
    for (const expression of read) expressions.push(expression);
    if (read.some(({ type }) => ending.has(type)) && !isWanted(expressions)) return false;
  }
  return true;
}

const ending: ReadonlySet<Expression["type"]> = new Set(["compare", "among", "ct"]);

function readHandle(view: DataView, reader: AttributeReader): string {
  const [start, end] = reader.bounds();
  return end - start < 8 ? "" : String(view.getUint32(start, false) * 2 ** 32 + view.getUint32(start + 4, false));
}

/** Of a message about a rule. */
export function decodeRuleHandle(view: DataView, frame: MessageFrame): string {
  const reader = attributesOf(view, frame);
  while (reader.next()) if (reader.type === nftaRule.handle) return readHandle(view, reader);
  return "";
}

export function decodeSet(view: DataView, frame: MessageFrame): KernelSet {
  const reader = attributesOf(view, frame);
  let [flags, keyLength] = [0, 0];
  while (reader.next()) {
    if (reader.type === nftaSet.flags) flags = reader.u32BigEndian() ?? flags;
    else if (reader.type === nftaSet.keyLength) keyLength = reader.u32BigEndian() ?? keyLength;
  }
  return { flags, keyLength };
}

export function decodeElements(view: DataView, frame: MessageFrame): KernelElement[] {
  const reader = attributesOf(view, frame);
  const elements: KernelElement[] = [];
  while (reader.next()) {
    if (reader.type !== nftaSetElements.elements) continue;
    const list = reader.nested();
    while (list.next()) if (list.type === LIST_ELEMENT) elements.push(readElement(view, list.nested()));
  }
  return elements;
}

function readElement(view: DataView, reader: AttributeReader): KernelElement {
  let [flags, isConditional] = [0, false];
  let key: Uint8Array = new Uint8Array();
  let keyEnd: Uint8Array | undefined;
  let verdict: RuleVerdict | undefined;
  while (reader.next()) {
    switch (reader.type) {
      case nftaElement.key:
        key = readData(view, reader.nested()).value ?? key;
        break;
      case nftaElement.keyEnd:
        keyEnd = readData(view, reader.nested()).value;
        break;
      case nftaElement.data:
        verdict = readData(view, reader.nested()).verdict;
        break;
      case nftaElement.flags:
        flags = reader.u32BigEndian() ?? 0;
        break;
      case nftaElement.expression:
      case nftaElement.expressions:
        isConditional = true;
        break;
    }
  }
  return {
    key,
    ...(keyEnd !== undefined && { keyEnd }),
    isEnd: (flags & nftElementFlag.intervalEnd) !== 0,
    isCatchAll: (flags & nftElementFlag.catchAll) !== 0,
    ...(verdict !== undefined && { verdict }),
    isConditional,
  };
}

export function encodeTablesQuery(writer: MessageWriter): void {
  encodeQuery(writer, nftMessage.getTable, nlm.dump, 0);
}

export function encodeChainsQuery(writer: MessageWriter): void {
  encodeQuery(writer, nftMessage.getChain, nlm.dump, 0);
}

export function encodeRulesQuery(writer: MessageWriter, family: number, table: string, chain: string): void {
  encodeQuery(writer, nftMessage.getRule, nlm.dump, family, [
    [nfta.table, table],
    [nftaRule.chain, chain],
  ]);
}

export function encodeSetQuery(writer: MessageWriter, family: number, table: string, set: string): void {
  encodeQuery(writer, nftMessage.getSet, nlm.ack, family, [
    [nfta.table, table],
    [nftaSet.name, set],
  ]);
}

export function encodeElementsQuery(writer: MessageWriter, family: number, table: string, set: string): void {
  encodeQuery(writer, nftMessage.getSetElement, nlm.dump, family, [
    [nfta.table, table],
    [nftaSetElements.set, set],
  ]);
}

function encodeQuery(
  writer: MessageWriter,
  message: number,
  flags: number,
  family: number,
  texts: readonly (readonly [type: number, text: string])[] = [],
): void {
  const start = writer.begin((NFNL_SUBSYS_NFTABLES << 8) | message, nlm.request | flags);
  writer.u8(family);
  writer.zeros(3);
  for (const [type, text] of texts) writer.textAttribute(type, text);
  writer.end(start);
}
