// Calls to the store of a cluster by those who have a certificate: a host for itself, the administrator for all.
import { readFileSync } from "node:fs";
import { describeError, FlannelError, hasCode } from "../../errors.ts";
import { parseStoreAddress, type StoreAddress } from "../grpc/store-address.ts";
import { callUnary, type UnaryMethod } from "../grpc/unary-call.ts";
import { ClusterDefinition, type CreateTokenResponse, type Host, type RemovedLeases, type Token } from "./cluster.ts";
import { AWAIT_MS } from "./examinations.ts";

export interface ClusterAccess {
  /** As for etcd: `https://10.0.0.1:2379`, several with commas; tried in this order. */
  readonly endpoints: string;
  /** Read at each call: they may have been replaced. */
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

const { renew, leave, awaitExamination, finishExamination, examineHost } = ClusterDefinition.methods;
const { createToken, listTokens, revokeToken, listHosts, removeHost } = ClusterDefinition.methods;

const nothingRemoved: RemovedLeases = { leases: [], sharedAddresses: [], pendingReason: "" };

/**
 * All methods throw `FILE_FAILED` for a file that cannot be read, `STORE_UNAVAILABLE`, `STORE_UNAUTHORIZED` (not a
 * member, certificate ended, not allowed) and what they say themselves.
 */
export class ClusterClient {
  readonly #access: ClusterAccess;
  readonly #send: typeof callUnary;

  constructor(access: ClusterAccess, send: typeof callUnary = callUnary) {
    this.#access = access;
    this.#send = send;
  }

  /** A new certificate for this host, for the key it has, and the store's CA as it is now ("": it did not say). */
  async renew(signal: AbortSignal): Promise<{ readonly certificatePem: string; readonly caPem: string }> {
    const { certificate, caCertificate } = await this.#call("renew the certificate", renew, {}, signal);
    return { certificatePem: certificate, caPem: caCertificate };
  }

  /** This host is no member any more; its certificates are void. Resolves with what became of its leases. */
  async leave(signal: AbortSignal): Promise<RemovedLeases> {
    const { removed } = await this.#call("leave the cluster", leave, {}, signal);
    return removed ?? nothingRemoved;
  }

  /** The id of an examination of this host that is waited for; undefined when nobody asked within a while. */
  async awaitExamination(signal: AbortSignal): Promise<string | undefined> {
    const { id } = await this.#call("wait for an examination", awaitExamination, {}, signal, {
      timeoutMs: AWAIT_MS + 10_000,
    });
    return id === "" ? undefined : id;
  }

  /** `report`: what `flannelctl doctor --json` wrote. */
  async finishExamination(id: string, report: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#call("hand over what the doctor found", finishExamination, { id, report }, signal);
  }

  /** What the doctor of another host finds now, by its name or address. Throws `CLUSTER_NOT_FOUND`; `AGENT_SILENT`: it did not answer. */
  async examineHost(
    host: string,
    signal: AbortSignal,
  ): Promise<{ readonly hostName: string; readonly report: string }> {
    const { hostName, report } = await this.#call(`examine host ${host}`, examineHost, { host }, signal);
    return { hostName, report: Buffer.from(report).toString("utf8") };
  }

  /** Throws `CONFIG_INVALID` for a life that is not allowed. */
  createToken(ttlSeconds: number, signal: AbortSignal): Promise<CreateTokenResponse> {
    return this.#call("make a token", createToken, { ttlSeconds: BigInt(ttlSeconds) }, signal);
  }

  async listTokens(signal: AbortSignal): Promise<readonly Token[]> {
    return (await this.#call("list the tokens", listTokens, {}, signal)).tokens;
  }

  /** Throws `CLUSTER_NOT_FOUND`. */
  async revokeToken(id: string, signal: AbortSignal): Promise<void> {
    await this.#call(`revoke token ${id}`, revokeToken, { id }, signal, { isRemoval: true });
  }

  async listHosts(signal: AbortSignal): Promise<readonly Host[]> {
    return (await this.#call("list the hosts", listHosts, {}, signal)).hosts;
  }

  /** Cuts a host off at once and for good; to be repeated while its leases cannot be deleted. Throws `CLUSTER_NOT_FOUND`. */
  async removeHost(name: string, signal: AbortSignal): Promise<RemovedLeases> {
    const { removed } = await this.#call(`remove host ${name}`, removeHost, { name }, signal, { isRemoval: true });
    return removed ?? nothingRemoved;
  }

  async #call<Request, Response>(
    operation: string,
    method: UnaryMethod<Request, Response>["method"],
    request: Request,
    signal: AbortSignal,
    { timeoutMs, isRemoval = false }: { readonly timeoutMs?: number; readonly isRemoval?: boolean } = {},
  ): Promise<Response> {
    const { caFile, certFile, keyFile } = this.#access;
    const tls = { ca: read(caFile), cert: read(certFile), key: read(keyFile) };
    let failure: unknown;
    for (const address of this.#addresses()) {
      try {
        const target = { address, tls, operation, ...(timeoutMs !== undefined && { timeoutMs }) };
        return await this.#send(target, { service: ClusterDefinition, method }, request, signal);
      } catch (error) {
        if (isRemoval && failure !== undefined && hasCode(error, "CLUSTER_NOT_FOUND")) {
          const doubt = "the first attempt may have removed it already";
          throw new FlannelError(error.code, `${error.message}; ${doubt} (${describeError(failure)})`, {
            cause: failure,
          });
        }
        if (!hasCode(error, "STORE_UNAVAILABLE")) throw error;
        failure ??= error;
      }
    }
    throw failure;
  }

  #addresses(): StoreAddress[] {
    return this.#access.endpoints.split(",").map(parseStoreAddress);
  }
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot read ${file}: ${describeError(cause)}`, { cause, tellsCause: true });
  }
}
