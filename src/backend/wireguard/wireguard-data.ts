// The wireguard backend's part of a lease: `{"PublicKey":"…","Port":51820}`, once for each family. Pure.
import { foldKey } from "../../json/nearest.ts";
import type { BackendData } from "../../lease/lease.ts";
import { isKey } from "../../netlink/genetlink/wireguard-device.ts";

export interface WireguardData {
  readonly publicKey: string;
  /** Missing in leases of old versions: the port is ours then. */
  readonly port?: number;
}

export function wireguardData(publicKey: string, port: number): BackendData {
  return { PublicKey: publicKey, Port: port };
}

/** Names are read as Go does: in any case, the last of equals wins. */
function memberOf(data: BackendData | undefined, foldedName: string): unknown {
  if (typeof data !== "object" || data === null) return undefined;
  return Object.entries(data).findLast(([key]) => foldKey(key) === foldedName)?.[1];
}

/** Or a sentence on what is wrong. */
export function readWireguardData(data: BackendData | undefined): WireguardData | { readonly reason: string } {
  const publicKey = memberOf(data, "publickey");
  const port = memberOf(data, "port");
  if (typeof publicKey !== "string") return { reason: "has no PublicKey" };
  if (!isKey(publicKey))
    return { reason: `PublicKey ${JSON.stringify(publicKey.slice(0, 60))} is not a key of 32 bytes` };
  if (port === undefined || port === null || port === 0) return { publicKey };
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65_535) {
    return { reason: `Port ${JSON.stringify(port).slice(0, 60)} is not a port` };
  }
  return { publicKey, port };
}
