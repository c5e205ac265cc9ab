// The key of this host: peers know it by its public half, so it must survive restarts. Upstream keeps it in a file. Pure.
import { FlannelError } from "../../errors.ts";
import { isKey } from "../../netlink/genetlink/wireguard-device.ts";
import type { BackendIdentity, IdentityFacts } from "../backend.ts";
import { readWireguardData } from "./wireguard-data.ts";

/** Both base64; the private one is secret. */
interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export interface WireguardIdentity extends KeyPair {
  /** It is announced already, and used once the lease in the store says so: peers that know it answer to no other. */
  readonly next?: KeyPair;
  /** The public key before this one: the key file may not have followed yet. */
  readonly previousPublicKey?: string;
}

const DEFAULT_KEY_FILE = "/run/flannel/wgkey";

export const wireguardIdentity: BackendIdentity<WireguardIdentity> = {
  /** The file's key is what the administrator or upstream says; /run is empty after a reboot, and then ours is kept. */
  restore(remembered, facts) {
    const known = rememberedIdentity(remembered, facts);
    const inFile = keyInFile(facts);
    if (inFile === undefined) return known ?? pairOf(newKey(facts), facts);
    const found = pairOf(inFile, facts);
    if (known === undefined) return found;
    if (found.publicKey === known.next?.publicKey) return { ...found, previousPublicKey: known.publicKey };
    const isOurs = [known.publicKey, known.previousPublicKey].includes(found.publicKey);
    return isOurs ? known : found;
  },
  matches({ publicKey, next, previousPublicKey }, { backendData, backendV6Data }) {
    const ours = [publicKey, next?.publicKey, previousPublicKey];
    return [backendData, backendV6Data].some((data) => {
      const read = readWireguardData(data);
      return "publicKey" in read && ours.includes(read.publicKey);
    });
  },
  renew(identity, facts) {
    return identity.next === undefined ? { ...identity, next: pairOf(newKey(facts), facts) } : identity;
  },
  settle(identity, { backendData, backendV6Data }) {
    const { next, publicKey } = identity;
    const read = readWireguardData(backendData ?? backendV6Data);
    if (next === undefined || !("publicKey" in read) || read.publicKey !== next.publicKey) return identity;
    return { ...next, previousPublicKey: publicKey };
  },
  file: {
    path: (environment) => environment["WIREGUARD_KEY_FILE"] || DEFAULT_KEY_FILE,
    content: ({ privateKey }) => privateKey,
  },
};

function keyInFile({ file }: IdentityFacts): string | undefined {
  if (file === undefined) return undefined;
  const key = file.content.replaceAll(/\s/g, "");
  if (isKey(key)) return key;
  throw new FlannelError(
    "CONFIG_INVALID",
    `${file.path} does not hold a WireGuard key (32 bytes in base64, as wg genkey prints them): delete it to go on with the key that this host had before, or with a new one`,
  );
}

function rememberedIdentity(remembered: unknown, facts: KeyMaker): WireguardIdentity | undefined {
  const privateKey = keyField(remembered, "privateKey");
  if (privateKey === undefined) return undefined;
  const nextKey = keyField(fieldOf(remembered, "next"), "privateKey");
  const previousPublicKey = keyField(remembered, "previousPublicKey");
  return {
    ...pairOf(privateKey, facts),
    ...(nextKey === undefined ? {} : { next: pairOf(nextKey, facts) }),
    ...(previousPublicKey === undefined ? {} : { previousPublicKey }),
  };
}

function keyField(record: unknown, name: string): string | undefined {
  const value = fieldOf(record, name);
  return typeof value === "string" && isKey(value) ? value : undefined;
}

function fieldOf(record: unknown, name: string): unknown {
  if (typeof record !== "object" || record === null) return undefined;
  return new Map<string, unknown>(Object.entries(record)).get(name);
}

type KeyMaker = Pick<IdentityFacts, "randomBytes" | "curve25519PublicKey">;

function pairOf(privateKey: string, { curve25519PublicKey }: KeyMaker): KeyPair {
  return { privateKey, publicKey: curve25519PublicKey(privateKey) };
}

/** Clamped as every WireGuard does it (RFC 7748 section 5), so that it is the same wherever it is read. */
function newKey({ randomBytes }: KeyMaker): string {
  const bytes = Buffer.from(randomBytes(32));
  bytes[0] = (bytes[0] ?? 0) & 248;
  bytes[31] = ((bytes[31] ?? 0) & 127) | 64;
  return bytes.toString("base64");
}
