// Peers of the configuration that are no hosts of the network: a laptop, a gateway to another site. Read and checked. Pure.
import { invalid } from "../../config/address-pool.ts";
import { type NetworkConfig, networksOf } from "../../config/network-config.ts";
import { addressBits, familyOf, makePrefix, type Prefix, tryParseAddress, tryParsePrefix } from "../../ip/address.ts";
import { containsAddress, networkOf, overlaps } from "../../ip/prefix.ts";
import { jsonTypeOf } from "../../json/json-entries.ts";
import { didYouMean, foldKey } from "../../json/nearest.ts";
import { type Endpoint, isKey } from "../../netlink/genetlink/wireguard-device.ts";
import { checkSecretPath } from "./secret-path.ts";

export interface StaticPeer {
  /** Letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  readonly publicKey: string;
  /** Missing: it calls first, as a laptop does. */
  readonly endpoint?: Endpoint;
  /** Host bits clear; outside of the network; none overlaps another one of any static peer. */
  readonly allowedIps: readonly Prefix[];
  /** 0: none are sent. */
  readonly keepaliveSeconds: number;
  /** File on every host. */
  readonly presharedKeyFile?: string;
}

const MAX_PEERS = 256;
const MAX_ALLOWED_IPS = 64;
const MAX_PORT = 65_535;
const keys = ["Name", "PublicKey", "Endpoint", "AllowedIPs", "PersistentKeepaliveInterval", "PSKFile"] as const;
type Key = (typeof keys)[number];
type Members = ReadonlyMap<Key, unknown>;

/** Throws `CONFIG_INVALID` naming the peer, key, value and rule. */
export function readStaticPeers(list: readonly unknown[], config: NetworkConfig): readonly StaticPeer[] {
  if (list.length > MAX_PEERS) throw invalid("Backend.Peers", list.length, `must have at most ${MAX_PEERS} entries`);
  const peers = list.map((entry, index) => readPeer(entry, `Backend.Peers[${index}]`));
  refuseEquals(peers, "Name", ({ name }) => name);
  refuseEquals(peers, "PublicKey", ({ publicKey }) => publicKey);
  const taken: { readonly prefix: Prefix; readonly what: string }[] = networksOf(config).map((network) => {
    return { prefix: network, what: `the network ${network}` };
  });
  for (const [index, { name, allowedIps, endpoint }] of peers.entries()) {
    const path = `Backend.Peers[${index}].AllowedIPs`;
    for (const prefix of allowedIps) {
      const other = taken.find((known) => overlaps(known.prefix, prefix));
      if (other !== undefined) throw invalid(path, prefix, `must not overlap ${other.what}`);
      if (endpoint !== undefined && containsAddress(prefix, endpoint.address)) {
        throw invalid(
          path,
          prefix,
          `must not hold the peer's own Endpoint ${endpoint.address}: its packets would go round`,
        );
      }
      taken.push({ prefix, what: `${prefix} of the peer ${name}` });
    }
  }
  return peers;
}

function readPeer(entry: unknown, path: string): StaticPeer {
  const members = membersOf(entry, path);
  const name = textOf(members, "Name", path);
  if (!/^[A-Za-z0-9][\w.-]{0,62}$/.test(name)) {
    throw invalid(`${path}.Name`, name, "must be up to 63 letters, digits, dots, hyphens and underscores");
  }
  const publicKey = textOf(members, "PublicKey", path);
  if (!isKey(publicKey)) {
    throw invalid(`${path}.PublicKey`, publicKey, "must be 32 bytes in base64, as wg pubkey prints them");
  }
  const endpoint = members.has("Endpoint") ? endpointOf(textOf(members, "Endpoint", path), path) : undefined;
  const presharedKeyFile = members.has("PSKFile") ? textOf(members, "PSKFile", path) : undefined;
  if (presharedKeyFile !== undefined) checkSecretPath(`${path}.PSKFile`, presharedKeyFile);
  return Object.freeze({
    name,
    publicKey,
    allowedIps: allowedIpsOf(members, path),
    keepaliveSeconds: keepaliveOf(members, path),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(presharedKeyFile === undefined ? {} : { presharedKeyFile }),
  });
}

/** Names in any case, the last of equals, null as missing: Go's rules. An unknown one may be a mistyped AllowedIPs. */
function membersOf(entry: unknown, path: string): Members {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw invalid(path, undefined, `must be an object, not a JSON ${jsonTypeOf(entry)}`);
  }
  const members = new Map<Key, unknown>();
  for (const [name, value] of Object.entries(entry)) {
    const key = keys.find((known) => foldKey(known) === foldKey(name));
    if (key === undefined) {
      const shown = name.length > 60 ? `${name.slice(0, 57)}...` : name;
      throw invalid(
        path,
        undefined,
        `has no key ${JSON.stringify(shown)}: ${keys.join(", ")}${didYouMean(name, keys)}`,
      );
    }
    if (value !== null) members.set(key, value);
  }
  return members;
}

function textOf(members: Members, key: Key, path: string): string {
  const value = members.get(key);
  if (typeof value === "string") return value;
  throw invalid(`${path}.${key}`, value, value === undefined ? "is missing" : "must be a string");
}

function endpointOf(text: string, path: string): Endpoint {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const address = tryParseAddress(match?.[1] ?? match?.[2] ?? "");
  const port = Number(match?.[3]);
  const isBracketed = match?.[1] !== undefined;
  if (address === undefined || port < 1 || port > MAX_PORT || (familyOf(address) === 6) !== isBracketed) {
    throw invalid(
      `${path}.Endpoint`,
      text,
      'must be "192.0.2.7:51820" or "[2001:db8::7]:51820", an address and no name',
    );
  }
  return { address, port };
}

function allowedIpsOf(members: Members, path: string): readonly Prefix[] {
  const value = members.get("AllowedIPs");
  const at = `${path}.AllowedIPs`;
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_ALLOWED_IPS) {
    throw invalid(at, undefined, `must be a list of 1 to ${MAX_ALLOWED_IPS} prefixes or addresses`);
  }
  return value.map((entry: unknown) => {
    const text = typeof entry === "string" ? entry : "";
    const address = tryParseAddress(text);
    const prefix = address === undefined ? tryParsePrefix(text) : makePrefix(address, addressBits(familyOf(address)));
    if (prefix === undefined) throw invalid(at, entry, 'must hold prefixes such as "10.99.0.0/24", or addresses');
    return networkOf(prefix);
  });
}

function keepaliveOf(members: Members, path: string): number {
  const value = members.get("PersistentKeepaliveInterval") ?? 0;
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_PORT) return value;
  throw invalid(`${path}.PersistentKeepaliveInterval`, value, `must be a whole number from 0 to ${MAX_PORT}`);
}

function refuseEquals(peers: readonly StaticPeer[], key: Key, of: (peer: StaticPeer) => string): void {
  const seen = new Set<string>();
  for (const [index, peer] of peers.entries()) {
    if (seen.has(of(peer))) throw invalid(`Backend.Peers[${index}].${key}`, of(peer), "is that of another entry");
    seen.add(of(peer));
  }
}
