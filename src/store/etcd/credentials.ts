// Reads the PEM files of the connection to etcd. Called at start and again on SIGHUP.
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { checkServerIdentity, createSecureContext, getCACertificates } from "node:tls";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { describeError, FlannelError } from "../../errors.ts";
import type { CertificateInUse } from "../subnet-store.ts";
import type { EtcdEndpoint, EtcdTlsFiles } from "./endpoints.ts";

/** What was read from the files, and the certificates that servers showed since. */
export interface LoadedCredentials {
  /** Makes the credentials of one endpoint's channel. */
  readonly make: (endpoint: EtcdEndpoint) => ChannelCredentials;
  certificates(): readonly CertificateInUse[];
}

/**
 * Without a CA file the system's roots are trusted. Throws `CONFIG_INVALID` naming the flag and the file when one
 * cannot be read or used.
 */
export async function loadCredentials(files: EtcdTlsFiles, isEncrypted: boolean): Promise<LoadedCredentials> {
  if (!isEncrypted) return { make: () => credentials.createInsecure(), certificates: () => [] };
  const ca = await readPem("--etcd-cafile", files.caFile);
  const cert = await readPem("--etcd-certfile", files.certFile);
  const key = await readPem("--etcd-keyfile", files.keyFile);
  refuseEncryptedKey(files.keyFile, key);
  const ours = [
    ...(ca === undefined ? [] : [describeCertificate("authority", "--etcd-cafile", files.caFile, ca)]),
    ...(cert === undefined ? [] : [describeCertificate("client", "--etcd-certfile", files.certFile, cert)]),
  ];
  const context = makeContext({ ca: ca ?? systemRoots(), ...(cert && { cert }), ...(key && { key }) });
  const servers = new Map<string, CertificateInUse>();
  const make = ({ host, url }: EtcdEndpoint) =>
    credentials.createFromSecureContext(context, {
      checkServerIdentity: (_sentName, certificate) => {
        const [startsAtMs, endsAtMs] = [Date.parse(certificate.valid_from), Date.parse(certificate.valid_to)];
        servers.set(url, { role: "server", source: url, startsAtMs, endsAtMs });
        // The name sent in the TLS greeting is not always the one to verify: see channelOptions.
        return checkServerIdentity(host, certificate);
      },
    });
  return { make, certificates: () => [...ours, ...servers.values()] };
}

/** What the machine's administrator trusts; Node's own list where the machine has none. */
function systemRoots(): string[] {
  const roots = getCACertificates("system");
  return roots.length > 0 ? roots : getCACertificates("bundled");
}

function makeContext(pem: { ca: Buffer | string[]; cert?: Buffer; key?: Buffer }) {
  try {
    return createSecureContext({ ...pem, minVersion: "TLSv1.2" });
  } catch (error) {
    const message = `cannot use --etcd-certfile with --etcd-keyfile: ${describeError(error)}`;
    throw new FlannelError("CONFIG_INVALID", message, { cause: error });
  }
}

async function readPem(flag: string, file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined || file === "") return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new FlannelError("CONFIG_INVALID", `cannot read ${flag} ${file}: ${describeError(error)}`, {
      cause: error,
    });
  }
}

/** PKCS #8 says it in its first line (RFC 7468), the older forms in their header (RFC 1421). */
function refuseEncryptedKey(file: string | undefined, key: Buffer | undefined): void {
  if (
    key === undefined ||
    !/^(?:-----BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED)/m.test(key.toString("latin1"))
  ) {
    return;
  }
  const message =
    `--etcd-keyfile ${file} is protected by a passphrase, for which nobody can be asked: ` +
    `write it without one, readable by root only (openssl pkey -in ${file} -out FILE)`;
  throw new FlannelError("CONFIG_INVALID", message);
}

/**
 * Of several in one file the first is ours, and the one that ends last is what there is to trust at last. OpenSSL ignores
 * a CA file without a certificate in it, which would show as a puzzling handshake failure: refused here.
 */
function describeCertificate(
  role: "client" | "authority",
  flag: string,
  file: string | undefined,
  pem: Buffer,
): CertificateInUse {
  const texts = pem.toString("latin1").match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    const all = [pem, ...texts].map((text) => new X509Certificate(text));
    const ends = all.map(({ validTo }) => Date.parse(validTo));
    const endsAtMs = role === "client" ? (ends[0] ?? 0) : Math.max(...ends);
    const startsAtMs = Date.parse(all[0]?.validFrom ?? "");
    return { role, source: file ?? "", startsAtMs, endsAtMs };
  } catch (error) {
    const message = `${flag} ${file} has no certificate in PEM format: ${describeError(error)}`;
    throw new FlannelError("CONFIG_INVALID", message, { cause: error });
  }
}
