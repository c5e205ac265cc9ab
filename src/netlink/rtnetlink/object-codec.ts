// What the reader, the writer and the monitor have to know of one kind of rtnetlink object. Pure.
import type { Family, Prefix } from "../../ip/address.ts";
import type { Decode } from "../message-frames.ts";
import type { MessageWriter } from "../message-writer.ts";
import { AF_INET, AF_INET6, AF_UNSPEC } from "../uapi.ts";

/** What is missing does not filter. A kind ignores what it does not have. */
export interface DumpFilter {
  /** Device; for routes and next hops the one they lead out of. */
  readonly index?: number;
  /** Addresses, routes, neighbours, next hops and rules. */
  readonly family?: Family;
  /** Routes. */
  readonly table?: number;
  /** Routes and next hops. */
  readonly protocol?: number;
  /** Routes: those of other protocols. */
  readonly exceptProtocol?: number;
  /** Routes: those that share an address with one of these. */
  readonly overlapping?: readonly Prefix[];
  /** Routes: those with a gateway in one of these, and those whose message has the gateway somewhere else. */
  readonly gatewayIn?: readonly Prefix[];
}

export type EncodeQuery = (writer: MessageWriter) => void;

export interface ObjectCodec<T> {
  readonly newType: number;
  readonly deleteType: number;
  /** Multicast groups that tell of changes (RTNLGRP_*). */
  readonly groups: readonly number[];
  /** Input is hostile; undefined for what cannot be read or is of another kind with the same message type. */
  readonly decode: Decode<T>;
  /** Some kernels do not know the kind: they have no object of it. */
  readonly mayBeMissing?: true;
  /** The queries whose answers together are all objects that fit `filter`, and perhaps more. */
  queries(filter: DumpFilter): readonly EncodeQuery[];
  /**
   * Without decoding it: false when the message cannot fit. For listings of which most is nobody's business, such as a full
   * routing table of the Internet.
   */
  mayFit?(view: DataView, start: number, end: number, filter: DumpFilter): boolean;
  /** Repeats the filter on our side: kernels without strict checking send everything. */
  fits(message: T, filter: DumpFilter): boolean;
}

export function fits<T>(wanted: T | undefined, actual: T | undefined): boolean {
  return wanted === undefined || wanted === actual;
}

export function families(filter: DumpFilter): readonly number[] {
  return filter.family === undefined ? [AF_INET, AF_INET6] : [filter.family === 4 ? AF_INET : AF_INET6];
}

export function oneFamily(filter: DumpFilter): number {
  return filter.family === undefined ? AF_UNSPEC : filter.family === 4 ? AF_INET : AF_INET6;
}
