// Keys of WireGuard: Curve25519 (RFC 7748), as base64 of 32 bytes.
import { createPrivateKey, createPublicKey } from "node:crypto";

/** RFC 8410: what stands before the 32 bytes in a PKCS #8 private key. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const KEY_BYTES = 32;

/** The public key that belongs to a private key of 32 bytes, both as base64. Throws a RangeError for another length. */
export function publicKeyOf(privateKey: string): string {
  const bytes = Buffer.from(privateKey, "base64");
  if (bytes.length !== KEY_BYTES) throw new RangeError("a private key has 32 bytes");
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, bytes]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return spki.subarray(-KEY_BYTES).toString("base64");
}
