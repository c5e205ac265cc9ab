// What to ask the kernel for the objects of a kind, and which of the answers fit a filter. Pure.
import type { Family } from "../../ip/address.ts";
import type { MessageWriter } from "../message-writer.ts";
import { AF_BRIDGE, AF_INET, AF_INET6, AF_UNSPEC } from "../uapi.ts";
import { encodeAddressQuery } from "./address.ts";
import { encodeLinkQuery } from "./link.ts";
import type { ObjectKind, ObjectKinds } from "./messages.ts";
import { encodeNeighbourQuery } from "./neighbour.ts";
import { encodeNextHopQuery } from "./next-hop.ts";
import { encodeRouteQuery } from "./route.ts";

/** What is missing does not filter. A kind ignores what it does not have. */
export interface DumpFilter {
  /** Device; for routes and next hops the one they lead out of. */
  readonly index?: number;
  /** Addresses, routes, neighbours and next hops. */
  readonly family?: Family;
  /** Routes. */
  readonly table?: number;
  /** Routes and next hops. */
  readonly protocol?: number;
}

export type EncodeQuery = (writer: MessageWriter) => void;

/** The queries whose answers together are all objects of `kind` that fit `filter`, and perhaps more. */
export function queriesFor(kind: ObjectKind, filter: DumpFilter): readonly EncodeQuery[] {
  const { index } = filter;
  switch (kind) {
    case "link":
      return [(writer) => encodeLinkQuery(writer, index)];
    case "address":
      return families(filter).map((family) => (writer) => encodeAddressQuery(writer, family, index));
    case "route":
      // One query for each family: without one the kernel adds multicast and MPLS routes.
      return families(filter).map((family) => (writer) => {
        encodeRouteQuery(writer, family, { outIndex: index, table: filter.table, protocol: filter.protocol });
      });
    case "neighbour":
      return [(writer) => encodeNeighbourQuery(writer, oneFamily(filter), index)];
    case "fdb":
      return [(writer) => encodeNeighbourQuery(writer, AF_BRIDGE, index)];
    case "nextHop":
      return [(writer) => encodeNextHopQuery(writer, oneFamily(filter), index)];
  }
}

type Matchers = { readonly [K in ObjectKind]: (message: ObjectKinds[K], filter: DumpFilter) => boolean };

/** Repeats the filter on our side: kernels without strict checking send everything. */
export const matchesFilter: Matchers = {
  link: (link, filter) => fits(filter.index, link.index),
  address: (address, filter) =>
    fits(filter.index, address.index) && fits(filter.family, address.address.includes(":") ? 6 : 4),
  route: (route, filter) =>
    fits(filter.family, route.family) &&
    fits(filter.table, route.table) &&
    fits(filter.protocol, route.protocol) &&
    // By next-hop object or over several devices the message may name no device of its own.
    (route.outIndex === undefined && (route.nextHopId !== undefined || route.isMultipath)
      ? true
      : fits(filter.index, route.outIndex)),
  neighbour: (neighbour, filter) => fits(filter.index, neighbour.index) && fits(filter.family, neighbour.family),
  fdb: (entry, filter) => fits(filter.index, entry.index),
  nextHop: (nextHop, filter) =>
    fits(filter.index, nextHop.outIndex) &&
    fits(filter.protocol, nextHop.protocol) &&
    (nextHop.isGroup || fits(filter.family, nextHop.family)),
};

function fits<T>(wanted: T | undefined, actual: T | undefined): boolean {
  return wanted === undefined || wanted === actual;
}

function families(filter: DumpFilter): readonly number[] {
  return filter.family === undefined ? [AF_INET, AF_INET6] : [filter.family === 4 ? AF_INET : AF_INET6];
}

function oneFamily(filter: DumpFilter): number {
  return filter.family === undefined ? AF_UNSPEC : filter.family === 4 ? AF_INET : AF_INET6;
}
