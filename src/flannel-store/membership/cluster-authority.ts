// Issues the certificates of a cluster: its own, the server's, the administrator's, the hosts'.
import { createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import { FlannelError } from "../../errors.ts";
import { type ClusterFiles, readClusterFile, replaceSecretFile, writeSecretFile } from "./cluster-files.ts";
import { endsAtMs, keyPin, makePrivateKey, readCertificate, readPrivateKey } from "./keys.ts";
import type { CertificateOrder } from "./x509.ts";

export interface IssuedCertificate {
  readonly pem: string;
  readonly serialNumber: string;
  readonly endsAtMs: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const AUTHORITY_LIFE_MS = 3_652 * DAY_MS;
const CERTIFICATE_LIFE_MS = 365 * DAY_MS;
/** Clocks of hosts are not all right. */
const BACKDATED_MS = HOUR_MS;

/** In the subjects, for people who look at a certificate; nothing depends on it. */
const organization = "flannel cluster";

type X509 = typeof import("./x509.ts");

export class ClusterAuthority {
  readonly certificate: X509Certificate;
  readonly #key: KeyObject;
  readonly #x509: X509;

  private constructor(certificate: X509Certificate, key: KeyObject, x509: X509) {
    this.certificate = certificate;
    this.#key = key;
    this.#x509 = x509;
  }

  /** Throws `FILE_FAILED` or `CONFIG_INVALID`. */
  static async open({ caCertificate, caKey }: ClusterFiles): Promise<ClusterAuthority> {
    const certificate = readCertificate(readClusterFile(caCertificate), caCertificate);
    const key = readPrivateKey(readClusterFile(caKey), caKey);
    if (!certificate.checkPrivateKey(key)) {
      throw new FlannelError("CONFIG_INVALID", `${caKey} is not the key of ${caCertificate}`);
    }
    return new ClusterAuthority(certificate, key, await import("./x509.ts"));
  }

  /** Makes key and certificate; the key is on disk first, and one that is there is kept. */
  static async create(files: ClusterFiles, hasKey: boolean, nowMs: number): Promise<ClusterAuthority> {
    if (!hasKey) writeSecretFile(files.caKey, makePrivateKey());
    return await ClusterAuthority.certify(files, nowMs);
  }

  /**
   * Makes the authority's certificate, again and again for the same key and name, so that what was signed before is good
   * under each of them. Throws `FILE_FAILED` or `CONFIG_INVALID`.
   */
  static async certify(files: ClusterFiles, nowMs: number): Promise<ClusterAuthority> {
    const key = readPrivateKey(readClusterFile(files.caKey), files.caKey);
    const { makeCertificate } = await import("./x509.ts");
    const order = {
      kind: "authority" as const,
      commonName: "flannel-store",
      organization,
      publicKey: createPublicKey(key),
      alternativeNames: [],
      notBefore: new Date(nowMs - BACKDATED_MS),
      notAfter: new Date(nowMs + AUTHORITY_LIFE_MS),
    };
    replaceSecretFile(files.caCertificate, makeCertificate(order, { key }));
    return await ClusterAuthority.open(files);
  }

  issueServer(publicKey: KeyObject, alternativeNames: readonly string[], nowMs: number): IssuedCertificate {
    return this.#issue({ kind: "server", commonName: "flannel-store", publicKey, alternativeNames }, nowMs);
  }

  issueAdmin(publicKey: KeyObject, nowMs: number): IssuedCertificate {
    return this.#issue({ kind: "client", commonName: "administrator", publicKey, alternativeNames: [] }, nowMs);
  }

  issueHost(publicKey: KeyObject, name: string, nowMs: number): IssuedCertificate {
    return this.#issue({ kind: "client", commonName: name, publicKey, alternativeNames: [name] }, nowMs);
  }

  /** Key pin included, since that is what callers compare. Throws `CONFIG_INVALID`. */
  readSigningRequest(der: Uint8Array): { readonly publicKey: KeyObject; readonly keyPin: string } {
    const publicKey = this.#x509.readSigningRequest(der);
    return { publicKey, keyPin: keyPin(publicKey) };
  }

  #issue(
    order: Pick<CertificateOrder, "kind" | "commonName" | "publicKey" | "alternativeNames">,
    nowMs: number,
  ): IssuedCertificate {
    // No certificate outlives the one it stands on.
    const endMs = Math.min(nowMs + CERTIFICATE_LIFE_MS, endsAtMs(this.certificate));
    const validity = { notBefore: new Date(nowMs - BACKDATED_MS), notAfter: new Date(endMs) };
    const signer = { key: this.#key, certificate: this.certificate };
    const pem = this.#x509.makeCertificate({ ...order, organization, ...validity }, signer);
    const { serialNumber } = new X509Certificate(pem);
    return { pem, serialNumber, endsAtMs: endMs };
  }
}
