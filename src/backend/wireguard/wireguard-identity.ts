// The key of this host: peers know it by its public half, so it must survive restarts. Upstream keeps it in a file. Pure.
import { FlannelError } from "../../errors.ts";
import { isKey } from "../../netlink/genetlink/wireguard-device.ts";
import type { BackendIdentity, IdentityFacts } from "../backend.ts";
import { readWireguardData } from "./wireguard-data.ts";

/** Both base64; the private one is secret. */
export interface WireguardIdentity {
  readonly privateKey: string;
  readonly publicKey: string;
}

const DEFAULT_KEY_FILE = "/run/flannel/wgkey";

export const wireguardIdentity: BackendIdentity<WireguardIdentity> = {
  /** The file's key is what the administrator or upstream says; /run is empty after a reboot, and then ours is kept. */
  restore(remembered, facts) {
    const privateKey = keyInFile(facts) ?? rememberedKey(remembered) ?? newKey(facts);
    return { privateKey, publicKey: facts.curve25519PublicKey(privateKey) };
  },
  matches({ publicKey }, { backendData, backendV6Data }) {
    return [backendData, backendV6Data].some((data) => {
      const read = readWireguardData(data);
      return "publicKey" in read && read.publicKey === publicKey;
    });
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

function rememberedKey(remembered: unknown): string | undefined {
  if (typeof remembered !== "object" || remembered === null || !("privateKey" in remembered)) return undefined;
  const { privateKey } = remembered;
  return typeof privateKey === "string" && isKey(privateKey) ? privateKey : undefined;
}

/** Clamped as every WireGuard does it (RFC 7748 section 5), so that it is the same wherever it is read. */
function newKey({ randomBytes }: IdentityFacts): string {
  const bytes = Buffer.from(randomBytes(32));
  bytes[0] = (bytes[0] ?? 0) & 248;
  bytes[31] = ((bytes[31] ?? 0) & 127) | 64;
  return bytes.toString("base64");
}
