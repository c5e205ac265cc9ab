// A host takes a new CA certificate from its store only if it is the one it has, renewed: the same key and name.
import { X509Certificate } from "node:crypto";
import { endsAtMs, keyPin } from "./keys.ts";

/** Why `nextPem` must not replace `currentPem`, the text of our file; undefined: it may. */
export function authorityRefusal(currentPem: string, nextPem: string, nowMs: number): string | undefined {
  // Whatever else is in the file would be trusted too.
  if (certificatesIn(nextPem) !== 1) return "it is not a single certificate";
  if (certificatesIn(currentPem) !== 1) return "the present file holds more than one certificate";
  const current = new X509Certificate(currentPem);
  const next = certificateIn(nextPem);
  if (next === undefined || !next.ca || !next.verify(next.publicKey)) return "it is not a CA certificate";
  if (keyPin(next.publicKey) !== keyPin(current.publicKey)) return "it is for another key";
  if (next.subject !== current.subject) return "it is for another name";
  if (next.validFromDate.getTime() > nowMs || endsAtMs(next) <= nowMs)
    return "it is not valid now: check the clocks of this host and of the store's host";
  if (endsAtMs(next) <= endsAtMs(current)) return "it does not expire later than the present one";
  return undefined;
}

function certificatesIn(pem: string): number {
  return pem.split("-----BEGIN ").length - 1;
}

function certificateIn(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}
