// Keys and certificates as Node reads them: making keys, pins, life of certificates. Needs no library.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  X509Certificate,
} from "node:crypto";
import { describeError, FlannelError } from "../../errors.ts";

/** A new private key, PKCS #8 in PEM. */
export function makePrivateKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return String(privateKey.export({ type: "pkcs8", format: "pem" }));
}

/** `what` names it in the error: a path. Throws `CONFIG_INVALID` without any of the text. */
export function readPrivateKey(pem: string, what: string): KeyObject {
  try {
    const key = createPrivateKey(pem);
    if (!isUsableKey(createPublicKey(key))) throw new RangeError("it is not an ECDSA key on P-256");
    return key;
  } catch (cause) {
    const reason = cause instanceof RangeError ? cause.message : "it is not a private key in PEM form";
    throw new FlannelError("CONFIG_INVALID", `${what} cannot be used: ${reason}`);
  }
}

/** `what` names it in the error: a path. Throws `CONFIG_INVALID`. */
export function readCertificate(pem: string, what: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new FlannelError("CONFIG_INVALID", `${what} holds no certificate in PEM form: ${describeError(cause)}`);
  }
}

export function isUsableKey(publicKey: KeyObject): boolean {
  return publicKey.asymmetricKeyType === "ec" && publicKey.asymmetricKeyDetails?.namedCurve === "prime256v1";
}

/** SHA-256 over the public key as it stands in certificates (SubjectPublicKeyInfo), base64url: 43 characters. */
export function keyPin(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("base64url");
}

/** Milliseconds since 1970. */
export function endsAtMs(certificate: X509Certificate): number {
  return certificate.validToDate.getTime();
}

/** Less than a third of its life remains, or it is over. */
export function isDueForRenewal(certificate: X509Certificate, nowMs: number): boolean {
  const endMs = endsAtMs(certificate);
  return endMs - nowMs < (endMs - certificate.validFromDate.getTime()) / 3;
}
