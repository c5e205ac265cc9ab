// The certificates the store's host keeps for itself: the server's and the administrator's. Their keys are never replaced,
// so that pins stay good.
import { createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { ClusterAuthority, type IssuedCertificate } from "./cluster-authority.ts";
import {
  bringBackFormer,
  type ClusterFiles,
  formerOf,
  readClusterFile,
  replaceSecretFile,
  writeSecretFile,
} from "./cluster-files.ts";
import { endsAtMs, isDueForRenewal, makePrivateKey, readCertificate, readPrivateKey } from "./keys.ts";
import { certifiedNames } from "./server-names.ts";

interface OwnCertificate {
  readonly keyFile: string;
  readonly certificateFile: string;
  readonly names: readonly string[];
  issue(authority: ClusterAuthority, publicKey: KeyObject): IssuedCertificate;
}

/**
 * Makes the authority's certificate when it is missing or due; then the keys that are missing, and the certificates that
 * are missing, are due, are for other names or another key. Needs the authority's key only for that. Resolves with the
 * files that were written.
 *
 * The clock may be wrong, either way, and be set right at any time; so nothing is thrown away for what it says, and this
 * is called again and again:
 * - One that is not valid yet stays, if the authority's is not either: the clock is early, more likely than not. If the
 *   authority's is valid, another is made, since none can be let in with this one.
 * - One that is replaced is kept beside its successor. Where the successor is not valid (yet, or any more) and the former
 *   one is, one of the two was made under a wrong clock, or this clock is wrong: they change places. If the former one is
 *   due as well, another is made.
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
  let authority: ClusterAuthority | undefined;
  const rootStep = stepOf(files.caCertificate, isAuthority, nowMs);
  if (rootStep === "former") bringBackFormer(files.caCertificate);
  else if (rootStep === "new") authority = await ClusterAuthority.certify(files, nowMs);
  if (rootStep !== "stay") written.push(files.caCertificate);
  const root = readCertificate(readClusterFile(files.caCertificate), files.caCertificate);
  for (const own of [server, admin]) {
    const key = ensureKey(own.keyFile);
    const isFit = (certificate: X509Certificate) => isGood(own, certificate, key, root);
    const step = stepOf(own.certificateFile, isFit, nowMs, isEarly(root, nowMs));
    if (step === "stay") continue;
    if (step === "former") {
      bringBackFormer(own.certificateFile);
    } else {
      authority ??= await ClusterAuthority.open(files);
      replaceSecretFile(own.certificateFile, own.issue(authority, createPublicKey(key)).pem);
    }
    written.push(own.certificateFile);
  }
  return written;
}

/** What to tell whoever can set the clock; the same text as long as nothing changes. */
export function clockWarning(files: ClusterFiles, nowMs: number): string | undefined {
  const { directory, caCertificate, serverCertificate, adminCertificate } = files;
  for (const file of [caCertificate, serverCertificate, adminCertificate]) {
    const certificate = readCertificate(readClusterFile(file), file);
    if (!isEarly(certificate, nowMs)) continue;
    return (
      `warning: by the clock of this host ${file} is not valid before ${certificate.validFromDate.toISOString()}, and ` +
      "members cannot connect: correct the clock. If it is right, the certificates were made under a wrong clock: remove " +
      `ca.pem, server.pem and admin.pem from ${directory}, and restart flannel-store`
    );
  }
  return undefined;
}

function ensureKey(file: string): KeyObject {
  if (!existsSync(file)) writeSecretFile(file, makePrivateKey());
  return readPrivateKey(readClusterFile(file), file);
}

/** Leave the file as it is; let the former one come back; make another. `isFit`: whatever the time is. */
function stepOf(
  file: string,
  isFit: (certificate: X509Certificate, present: X509Certificate) => boolean,
  nowMs: number,
  mayBeEarly = true,
): "stay" | "former" | "new" {
  if (!existsSync(file)) return "new";
  const present = readCertificate(readClusterFile(file), file);
  if (!isFit(present, present)) return "new";
  const early = isEarly(present, nowMs);
  if (!early && !isDueForRenewal(present, nowMs)) return "stay";
  const former = readFormer(file);
  if (former !== undefined && isFit(former, present) && !isEarly(former, nowMs) && endsAtMs(former) > nowMs) {
    return isDueForRenewal(former, nowMs) ? "new" : "former";
  }
  return early && mayBeEarly ? "stay" : "new";
}

function readFormer(file: string): X509Certificate | undefined {
  try {
    const former = formerOf(file);
    return existsSync(former) ? readCertificate(readClusterFile(former), former) : undefined;
  } catch {
    // It is a spare one.
    return undefined;
  }
}

function isAuthority(certificate: X509Certificate, present: X509Certificate): boolean {
  return certificate.publicKey.equals(present.publicKey);
}

function isGood(
  { names }: OwnCertificate,
  certificate: X509Certificate,
  key: KeyObject,
  root: X509Certificate,
): boolean {
  if (!certificate.checkPrivateKey(key) || !certificate.verify(root.publicKey)) return false;
  return certifiedNames(certificate).join() === names.join();
}

/** The clock is wrong, or was when it was made. */
function isEarly({ validFromDate }: X509Certificate, nowMs: number): boolean {
  return validFromDate.getTime() > nowMs;
}
