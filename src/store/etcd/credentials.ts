// Reads the PEM files of the connection to etcd. Called at start and again on SIGHUP.
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { checkServerIdentity, createSecureContext, getCACertificates } from "node:tls";
import { type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { describeError, FlannelError } from "../../errors.ts";
import type { EtcdEndpoint, EtcdTlsFiles } from "./endpoints.ts";

/** Makes the credentials of one endpoint's channel. */
export type CredentialsFactory = (endpoint: EtcdEndpoint) => ChannelCredentials;

/**
 * Without a CA file the system's roots are trusted. Throws `config.invalid` naming the flag and the file when one
 * cannot be read or used.
 */
export async function loadCredentials(files: EtcdTlsFiles, isEncrypted: boolean): Promise<CredentialsFactory> {
  if (!isEncrypted) return () => credentials.createInsecure();
  const ca = await readPem("--etcd-cafile", files.caFile);
  const cert = await readPem("--etcd-certfile", files.certFile);
  const key = await readPem("--etcd-keyfile", files.keyFile);
  if (ca !== undefined) checkCertificate("--etcd-cafile", files.caFile, ca);
  if (cert !== undefined) checkCertificate("--etcd-certfile", files.certFile, cert);
  const context = makeContext({ ca: ca ?? systemRoots(), ...(cert && { cert }), ...(key && { key }) });
  return ({ host }) =>
    credentials.createFromSecureContext(context, {
      // The name sent in the TLS greeting is not always the one to verify: see channelOptions.
      checkServerIdentity: (_sentName, certificate) => checkServerIdentity(host, certificate),
    });
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
    const message = `--etcd-certfile and --etcd-keyfile cannot be used together: ${describeError(error)}`;
    throw new FlannelError("config.invalid", message, { cause: error });
  }
}

async function readPem(flag: string, file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined || file === "") return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    throw new FlannelError("config.invalid", `${flag} ${file} cannot be read: ${describeError(error)}`, {
      cause: error,
    });
  }
}

/** OpenSSL ignores a CA file without a certificate in it, which would show as a puzzling handshake failure. */
function checkCertificate(flag: string, file: string | undefined, pem: Buffer): void {
  try {
    new X509Certificate(pem);
  } catch (error) {
    const message = `${flag} ${file} holds no certificate in PEM form: ${describeError(error)}`;
    throw new FlannelError("config.invalid", message, { cause: error });
  }
}
