// Renews the certificates of the connection to the store: has ours renewed by a store that issues them, uses a
// replaced file, and warns while there is time.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { BackOff } from "../../async/back-off.ts";
import { type PassEnd, ReconcileLoop } from "../../async/reconcile-loop.ts";
import type { EtcdOptions } from "../../config/agent-options.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { isDueForRenewal } from "../../flannel-store/membership/keys.ts";
import type { StoreCertificates } from "../../store/subnet-store.ts";
import { writeFileAtomically } from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { certificateFindings, endsSoon } from "./certificate-findings.ts";

export interface CertificateRenewerOptions {
  readonly etcd: EtcdOptions;
  readonly certificates: StoreCertificates;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Between two looks at the file and the clock; default a minute. */
  readonly lookEveryMs?: number;
}

const LOOK_EVERY_MS = 60_000;
const RETRY = { firstMs: 5_000, maxMs: 3_600_000 } as const;
const SAY_AGAIN_MS = 86_400_000;

export class CertificateRenewer implements AsyncDisposable {
  readonly #options: CertificateRenewerOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #loop: ReconcileLoop;
  /** Finding → when it was last logged, on the monotonic clock. */
  readonly #said = new Map<string, number>();
  /** The certificate in use, as text of its file. */
  #loaded: string | undefined;
  readonly #backOff = new BackOff(RETRY);
  /** Not before is a renewal tried that has failed. */
  #retryAtMs = 0;
  /** Not before is the store asked once more for its certificate. */
  #lookAgainAtMs = Number.NEGATIVE_INFINITY;

  private constructor(options: CertificateRenewerOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
    this.#loop = new ReconcileLoop({ pass: () => this.#look(), debounceMs: 0, signal: this.#signal });
  }

  static start(options: CertificateRenewerOptions): CertificateRenewer {
    const renewer = new CertificateRenewer(options);
    renewer.#loop.queuePass();
    return renewer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#loop[Symbol.asyncDispose]();
  }

  /** Never rejects. */
  async #look(): Promise<PassEnd<void>> {
    const { logger, etcd, lookEveryMs = LOOK_EVERY_MS } = this.#options;
    if (this.#loop.isStopped) return { result: undefined };
    try {
      if (etcd.renewsCertificate === true) await this.#keep();
      if (!(await this.#hasReconnected())) this.#warn();
    } catch (error) {
      if (this.#loop.isStopped) return { result: undefined };
      const message = "cannot check the certificate; retrying";
      logger.warn("certificate.unreadable", message, { error: describeError(error) });
    }
    const untilRetryMs = this.#retryAtMs - performance.now();
    return { result: undefined, repeatInMs: untilRetryMs > 0 ? Math.min(lookEveryMs, untilRetryMs) : lookEveryMs };
  }

  async #keep(): Promise<void> {
    const { certFile = "" } = this.#options.etcd.tls;
    const text = await readFile(certFile, "utf8");
    if (this.#loaded !== undefined && text !== this.#loaded) await this.#reload("certificate.replaced", text);
    this.#loaded = text;
    const certificate = new X509Certificate(text);
    if (isDueForRenewal(certificate, Date.now()) && performance.now() >= this.#retryAtMs)
      await this.#tryRenew(certificate, certFile);
  }

  async #tryRenew(certificate: X509Certificate, certFile: string): Promise<void> {
    try {
      const { text, caPem } = await this.#renewed(certificate);
      // First: ours may be signed so that only the new one vouches for it.
      await this.#takeAuthority(caPem);
      await writeFileAtomically(certFile, text);
      await this.#reload("certificate.renewed", text);
      this.#loaded = text; // not before: else it would not be tried again
      this.#backOff.reset();
    } catch (error) {
      if (this.#signal.aborted) return;
      this.#retryAtMs = performance.now() + this.#backOff.nextMs();
      const message = "cannot renew this host's certificate; retrying";
      const endsAt = new Date(Date.parse(certificate.validTo)).toISOString();
      this.#options.logger.warn("certificate.not-renewed", message, { error: describeError(error), endsAt });
    }
  }

  /** Checked: what cannot be used must not replace what still can. */
  async #renewed(certificate: X509Certificate): Promise<{ readonly text: string; readonly caPem: string }> {
    const { endpoints, tls } = this.#options.etcd;
    const { caFile = "", certFile = "", keyFile = "" } = tls;
    const { ClusterClient } = await import("../../flannel-store/membership/cluster-client.ts");
    const client = new ClusterClient({ endpoints, caFile, certFile, keyFile });
    const { certificatePem: text, caPem } = await client.renew(this.#signal);
    const next = new X509Certificate(text);
    if (!next.checkPrivateKey(createPrivateKey(await readFile(keyFile)))) {
      throw new FlannelError("INTERNAL", "the store issued a certificate for another key");
    }
    if (Date.parse(next.validTo) <= Date.parse(certificate.validTo)) {
      throw new FlannelError("INTERNAL", "the store issued a certificate that does not expire later: check the clocks");
    }
    if (next.validFromDate.getTime() > Date.now()) {
      throw new FlannelError("INTERNAL", "the store issued a certificate that is not valid yet: check the clocks");
    }
    return { text, caPem };
  }

  /**
   * The store's CA, renewed; anything else is refused, and the one we have stays. It does for years: that it cannot be
   * replaced now must not keep us from taking our own certificate.
   */
  async #takeAuthority(caPem: string): Promise<void> {
    const { logger, etcd } = this.#options;
    const { caFile = "" } = etcd.tls;
    if (caFile === "" || caPem === "") return;
    try {
      const current = await readFile(caFile, "utf8");
      if (current === caPem) return;
      const { authorityRefusal } = await import("../../flannel-store/membership/authority-renewal.ts");
      const refusal = authorityRefusal(current, caPem, Date.now());
      if (refusal !== undefined) throw new FlannelError("STORE_UNAUTHORIZED", refusal);
      await writeFileAtomically(caFile, caPem);
      const endsAt = new X509Certificate(caPem).validToDate.toISOString();
      logger.info("certificate.ca-renewed", "the store renewed its CA certificate", { endsAt });
    } catch (error) {
      const message = `cannot use the store's new CA certificate; keeping the current one: ${describeError(error)}`;
      logger.warn("certificate.ca-refused", message, { file: caFile });
    }
  }

  async #reload(event: "certificate.renewed" | "certificate.replaced", text: string): Promise<void> {
    await this.#options.certificates.reload();
    const endsAt = new Date(Date.parse(new X509Certificate(text).validTo)).toISOString();
    this.#options.logger.info(event, "using a new certificate for the store", { endsAt });
  }

  /** The store may have another certificate by now than it had when the connection was made: that is seen at a new one. */
  async #hasReconnected(): Promise<boolean> {
    const { certificates } = this.#options;
    const nowMs = Date.now();
    const isEnding = certificates.inUse().some((one) => one.role === "server" && endsSoon(one, nowMs));
    if (!isEnding || performance.now() < this.#lookAgainAtMs) return false;
    this.#lookAgainAtMs = performance.now() + SAY_AGAIN_MS;
    await certificates.reload();
    return true;
  }

  /** Each finding once a day. */
  #warn(): void {
    const { certificates, etcd, logger } = this.#options;
    for (const { severity, evidence, remedy } of certificateFindings(certificates.inUse(), etcd, Date.now())) {
      const key = `${severity} ${evidence}`;
      if ((this.#said.get(key) ?? Number.NEGATIVE_INFINITY) + SAY_AGAIN_MS > performance.now()) continue;
      this.#said.set(key, performance.now());
      const say = severity === "error" ? logger.error : logger.warn;
      say("certificate.ends", `${evidence}: ${remedy}`, { remedy });
    }
  }
}
