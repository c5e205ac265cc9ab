// Makes a cluster on the store's host, while no store runs there: whoever calls holds the lock of the data directory.
// Every step keeps what an earlier attempt has made.
import { existsSync } from "node:fs";
import { FlannelError } from "../../errors.ts";
import { ClusterAuthority } from "./cluster-authority.ts";
import { type ClusterFiles, clusterFiles, makeClusterDirectory, readClusterFile } from "./cluster-files.ts";
import { formatToken } from "./join-token.ts";
import { keyPin, readCertificate } from "./keys.ts";
import { MemberRegistry } from "./member-registry.ts";
import { hostNameRule, isPlainPrefix, isValidHostName } from "./names.ts";
import { ensureOwnCertificates } from "./own-certificates.ts";
import { serverNames } from "./server-names.ts";

export interface ClusterSetup {
  /** Where other hosts reach the store: addresses or names. The first is the one to join at. */
  readonly addresses: readonly string[];
  readonly port: number;
  readonly prefix: string;
}

/**
 * Makes the authority, the server's and the administrator's certificate and the list of members in `directory`
 * (DATA-DIR/cluster). With other addresses than before the server gets a new certificate for its key, so that tokens
 * stay good. Throws `FILE_FAILED` or `CONFIG_INVALID`.
 */
export async function createCluster(directory: string, { addresses, port, prefix }: ClusterSetup): Promise<void> {
  if (!isPlainPrefix(prefix)) {
    throw new FlannelError("CONFIG_INVALID", "the prefix of the keys may contain only letters, digits and / . _ -");
  }
  const files = clusterFiles(directory);
  makeClusterDirectory(directory);
  const nowMs = Date.now();
  await ensureAuthority(files, nowMs);
  await ensureOwnCertificates(files, serverNames(addresses), nowMs);
  const facts = { etcdPrefix: prefix, addresses: [...addresses], port };
  if (existsSync(files.members)) MemberRegistry.open(files).setFacts(facts);
  else MemberRegistry.create(files, facts);
}

/** A host's certificate without a token; for the same name and key once more. Throws `CONFIG_INVALID`, `CLUSTER_CONFLICT`. */
export async function admitFirstHost(
  directory: string,
  { name, csr }: { readonly name: string; readonly csr: Uint8Array },
): Promise<{ readonly certificatePem: string; readonly caPem: string }> {
  if (!isValidHostName(name)) throw new FlannelError("CONFIG_INVALID", `a host name must be ${hostNameRule}`);
  const files = clusterFiles(directory);
  const nowMs = Date.now();
  const authority = await ClusterAuthority.open(files);
  const { publicKey, keyPin: pin } = authority.readSigningRequest(csr);
  const issued = authority.issueHost(publicKey, name, nowMs);
  MemberRegistry.open(files).admit({ hostName: name, keyPin: pin }, nowMs, issued);
  return { certificatePem: issued.pem, caPem: readClusterFile(files.caCertificate) };
}

export interface CreatedToken {
  readonly id: string;
  /** See formatToken. */
  readonly text: string;
  readonly expiresAt: Date;
}

export function createFirstToken(directory: string, ttlSeconds: number): CreatedToken {
  const files = clusterFiles(directory);
  const server = readCertificate(readClusterFile(files.serverCertificate), files.serverCertificate);
  const { id, secret, expiresAtMs } = MemberRegistry.open(files).createToken(ttlSeconds * 1_000, Date.now());
  return { id, text: formatToken({ id, secret, pin: keyPin(server.publicKey) }), expiresAt: new Date(expiresAtMs) };
}

async function ensureAuthority(files: ClusterFiles, nowMs: number): Promise<void> {
  const hasKey = existsSync(files.caKey);
  if (!existsSync(files.caCertificate)) await ClusterAuthority.create(files, hasKey, nowMs);
  else if (hasKey) await ClusterAuthority.open(files);
  else throw new FlannelError("CONFIG_INVALID", `${files.caCertificate} is there, but its key ${files.caKey} is not`);
}
