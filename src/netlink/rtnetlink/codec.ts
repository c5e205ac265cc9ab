// How each kind of rtnetlink object is read out of a message. Pure; input is hostile.

import type { Decode } from "../message-frames.ts";
import { rtm } from "../uapi.ts";
import { decodeAddress } from "./address.ts";
import { decodeLink } from "./link-message.ts";
import type { ObjectKind, ObjectKinds } from "./messages.ts";
import { decodeFdb, decodeNeighbour } from "./neighbour.ts";
import { decodeNextHop } from "./next-hop.ts";
import { decodeRoute } from "./route.ts";

export interface ObjectCodec<T> {
  readonly newType: number;
  readonly deleteType: number;
  readonly decode: Decode<T>;
}

export const objectCodecs: { readonly [K in ObjectKind]: ObjectCodec<ObjectKinds[K]> } = {
  link: { newType: rtm.newLink, deleteType: rtm.delLink, decode: decodeLink },
  address: { newType: rtm.newAddress, deleteType: rtm.delAddress, decode: decodeAddress },
  route: { newType: rtm.newRoute, deleteType: rtm.delRoute, decode: decodeRoute },
  neighbour: { newType: rtm.newNeighbour, deleteType: rtm.delNeighbour, decode: decodeNeighbour },
  fdb: { newType: rtm.newNeighbour, deleteType: rtm.delNeighbour, decode: decodeFdb },
  nextHop: { newType: rtm.newNextHop, deleteType: rtm.delNextHop, decode: decodeNextHop },
};
