// What a host sends to get its first certificate.
import { readPrivateKey } from "./keys.ts";

/** PKCS #10 in DER. `keyPem` as makePrivateKey makes it. Throws `CONFIG_INVALID`. */
export async function makeSigningRequest(keyPem: string, hostName: string): Promise<Uint8Array> {
  const key = readPrivateKey(keyPem, "the host's key");
  const x509 = await import("./x509.ts");
  return x509.makeSigningRequest(key, hostName);
}
