// The certificates the store's host keeps for itself: the server's and the administrator's. Their keys are never replaced,
// so that pins stay good.
import { createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { ClusterAuthority, type IssuedCertificate } from "./cluster-authority.ts";
import { type ClusterFiles, readClusterFile, writeSecretFile } from "./cluster-files.ts";
import { isDueForRenewal, makePrivateKey, readCertificate, readPrivateKey } from "./keys.ts";
import { certifiedNames } from "./server-names.ts";

interface OwnCertificate {
  readonly keyFile: string;
  readonly certificateFile: string;
  readonly names: readonly string[];
  issue(authority: ClusterAuthority, publicKey: KeyObject): IssuedCertificate;
}

/**
 * Makes the authority's certificate anew when it is due; then the keys that are missing, and the certificates that are
 * missing, are due, are for other names or another key. Needs the authority's key only for that. Resolves with the files
 * that were written.
 */
export async function ensureOwnCertificates(
  files: ClusterFiles,
  names: readonly string[],
  nowMs: number,
): Promise<string[]> {
  const server: OwnCertificate = {
    keyFile: files.serverKey,
    certificateFile: files.serverCertificate,
    names,
    issue: (authority, publicKey) => authority.issueServer(publicKey, names, nowMs),
  };
  const admin: OwnCertificate = {
    keyFile: files.adminKey,
    certificateFile: files.adminCertificate,
    names: [],
    issue: (authority, publicKey) => authority.issueAdmin(publicKey, nowMs),
  };
  const written: string[] = [];
  const root = readCertificate(readClusterFile(files.caCertificate), files.caCertificate);
  let authority: ClusterAuthority | undefined;
  if (isFromFuture(root, nowMs) || isDueForRenewal(root, nowMs)) {
    authority = await ClusterAuthority.certify(files, nowMs);
    written.push(files.caCertificate);
  }
  for (const own of [server, admin]) {
    const key = ensureKey(own.keyFile);
    if (isGood(own, key, root, nowMs)) continue;
    authority ??= await ClusterAuthority.open(files);
    writeSecretFile(own.certificateFile, own.issue(authority, createPublicKey(key)).pem);
    written.push(own.certificateFile);
  }
  return written;
}

function ensureKey(file: string): KeyObject {
  if (!existsSync(file)) writeSecretFile(file, makePrivateKey());
  return readPrivateKey(readClusterFile(file), file);
}

function isGood(
  { certificateFile, names }: OwnCertificate,
  key: KeyObject,
  root: X509Certificate,
  nowMs: number,
): boolean {
  if (!existsSync(certificateFile)) return false;
  const present = readCertificate(readClusterFile(certificateFile), certificateFile);
  if (!present.checkPrivateKey(key) || !present.verify(root.publicKey)) return false;
  if (isFromFuture(present, nowMs) || isDueForRenewal(present, nowMs)) return false;
  return certifiedNames(present).join() === names.join();
}

/** Made while the clock was wrong. */
function isFromFuture({ validFromDate }: X509Certificate, nowMs: number): boolean {
  return validFromDate.getTime() > nowMs;
}
