// The connection to an etcd cluster: calls with deadline, fail-over and authentication; streams for watches.
import { type ClientDuplexStream, Metadata, status } from "@grpc/grpc-js";
import { cancelled } from "../../async/cancellation.ts";
import type { FlannelError } from "../../errors.ts";
import type { CertificateInUse } from "../subnet-store.ts";
import { AuthToken } from "./auth-token.ts";
import { defaultTimings, type EtcdChannel, EtcdChannels, type EtcdTimings } from "./channels.ts";
import { ClusterMembers } from "./cluster-members.ts";
import { connectionHint } from "./connection-hint.ts";
import type { EtcdTlsFiles } from "./endpoints.ts";
import { fromGrpc, isServiceError, isTokenRejected, isUnreachable } from "./etcd-errors.ts";
import { LoginPassword } from "./login-password.ts";
import { type CallContext, callStreamOnce, callUnary, methods, openStream, type RpcMethod } from "./rpc.ts";

export interface EtcdConnectionOptions {
  /** Comma-separated, see parseEndpoints. */
  readonly endpoints: string;
  readonly tls?: EtcdTlsFiles;
  /** "" or missing: no authentication by password. */
  readonly username?: string;
  readonly password?: string;
  /** Instead of `password`: the file that holds it. */
  readonly passwordFile?: string;
  readonly timings?: Partial<EtcdTimings>;
}

/** An open stream and the facts needed when it fails. */
export interface EtcdStream<Request, Response> {
  readonly stream: ClientDuplexStream<Request, Response>;
  readonly url: string;
  /** Next stream and calls go to another endpoint, when there is one. */
  leaveEndpoint(): void;
  /** The server said the token of this stream is not valid: the next stream logs in again. */
  rejectToken(): void;
}

type Sender<Response> = (channel: EtcdChannel, context: CallContext) => Promise<Response>;

export class EtcdConnection implements AsyncDisposable {
  readonly timings: EtcdTimings;
  readonly members = new ClusterMembers(this);
  readonly #channels: EtcdChannels;
  readonly #token: AuthToken;
  readonly #lifetime = new AbortController();

  private constructor(
    options: EtcdConnectionOptions,
    channels: EtcdChannels,
    password: LoginPassword,
    timings: EtcdTimings,
  ) {
    this.timings = timings;
    this.#channels = channels;
    const { username: name = "" } = options;
    this.#token = new AuthToken(name === "" ? undefined : async () => this.#authenticate(name, await password.read()));
  }

  /** Reads the certificate and password files; connects at the first call. Throws `CONFIG_INVALID`. */
  static async open(options: EtcdConnectionOptions): Promise<EtcdConnection> {
    const timings = { ...defaultTimings, ...options.timings };
    const channels = await EtcdChannels.open(options.endpoints, options.tls ?? {}, timings);
    return new EtcdConnection(options, channels, await LoginPassword.open(options), timings);
  }

  /** Of the endpoints, without secrets. */
  get urls(): readonly string[] {
    return this.#channels.urls;
  }

  /** URLs of the endpoints, without secrets. */
  get description(): string {
    return this.urls.join(",");
  }

  /** Of the options: odd but workable. */
  get warnings(): readonly string[] {
    return this.#channels.warnings;
  }

  /**
   * Calls `method` at the current endpoint, then at each other one while they cannot be reached; logs in again when the
   * token is rejected. A call whose answer was lost may have been carried out: writes must be conditional.
   * `operation` names it in errors ("read the network config"). Rejects with a FlannelError.
   */
  call<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    operation: string,
    signal: AbortSignal,
  ): Promise<Response> {
    return this.#send((channel, context) => callUnary(channel.client, method, request, context), operation, signal);
  }

  /** Like `call`, for a method that is a stream on the wire: one request, one answer. */
  callStreamOnce<Request, Response>(
    method: RpcMethod<Request, Response>,
    request: Request,
    operation: string,
    signal: AbortSignal,
  ): Promise<Response> {
    return this.#send(
      (channel, context) => callStreamOnce(channel.client, method, request, context),
      operation,
      signal,
    );
  }

  /** At an endpoint that need not be one of ours, without a token and without fail-over. */
  async callAt<Request, Response>(
    url: string,
    method: RpcMethod<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): Promise<Response | undefined> {
    const client = this.#channels.tryOpenOther(url);
    if (client === undefined) return undefined;
    const context = { metadata: metadataWith(undefined), timeoutMs: this.timings.callTimeoutMs, signal };
    try {
      return await callUnary(client, method, request, context);
    } finally {
      client.close();
    }
  }

  /** Opens a stream at the current endpoint that asks for a member with a leader. The caller cancels the stream. */
  async openStream<Request, Response>(
    method: RpcMethod<Request, Response>,
    signal: AbortSignal,
  ): Promise<EtcdStream<Request, Response>> {
    const token = await this.#token.get(signal);
    const channel = this.#channels.current;
    const metadata = metadataWith(token);
    // A member cut off from the others ends the stream instead of keeping it silent.
    metadata.set("hasleader", "true");
    const life = AbortSignal.any([signal, channel.closed]);
    const stream = openStream(channel.client, method, { metadata, timeoutMs: Number.POSITIVE_INFINITY, signal: life });
    return {
      stream,
      url: channel.url,
      leaveEndpoint: () => this.#channels.leave(channel),
      rejectToken: () => void this.#token.reject(token),
    };
  }

  /** Classifies what a call or stream at the endpoint `url` failed with. */
  toError(error: unknown, operation: string, url: string): FlannelError {
    const facts = () => ({ url, certificates: this.certificates(), nowMs: Date.now() });
    return fromGrpc(error, operation, url, (reason) => connectionHint(reason, facts()));
  }

  certificates(): readonly CertificateInUse[] {
    return this.#channels.certificates();
  }

  /** Later calls use new connections, streams break and must be opened again. */
  reconnect(): void {
    this.#channels.renew();
  }

  /** Reads the certificate files again: later calls use them, streams break and must be opened again. */
  async reloadCertificates(): Promise<void> {
    await this.#channels.reload();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lifetime.abort();
    this.#channels.close();
  }

  async #send<Response>(send: Sender<Response>, operation: string, signal: AbortSignal): Promise<Response> {
    const token = await this.#token.get(signal);
    try {
      return await this.#sendWithFailover(send, token, operation, signal);
    } catch (error) {
      if (!this.#isStaleToken(error) || !this.#token.reject(token)) throw error;
      return await this.#sendWithFailover(send, await this.#token.get(signal), operation, signal);
    }
  }

  async #sendWithFailover<Response>(
    send: Sender<Response>,
    token: string | undefined,
    operation: string,
    callerSignal: AbortSignal,
  ): Promise<Response> {
    const signal = AbortSignal.any([callerSignal, this.#lifetime.signal]);
    const context = { metadata: metadataWith(token), timeoutMs: this.timings.callTimeoutMs, signal };
    let failure: FlannelError | undefined;
    for (let left = this.#channels.urls.length; left > 0; left--) {
      const channel = this.#channels.current;
      try {
        return await send(channel, context);
      } catch (error) {
        if (signal.aborted) throw cancelled(operation);
        failure = this.toError(error, operation, channel.url);
        if (!isUnreachable(error)) throw failure;
        this.#channels.leave(channel);
      }
    }
    throw failure ?? cancelled(operation);
  }

  #isStaleToken(error: unknown): boolean {
    const cause = error instanceof Error ? error.cause : undefined;
    if (isTokenRejected(cause)) return true;
    return isServiceError(cause) && cause.code === status.PERMISSION_DENIED && this.#token.mayHaveExpired;
  }

  /** Sent without a token: with a stale one etcd refuses even this. */
  async #authenticate(name: string, password: string): Promise<string | undefined> {
    try {
      const { token } = await this.#sendWithFailover(
        (channel, context) => callUnary(channel.client, methods.authenticate, { name, password }, context),
        undefined,
        "log in",
        this.#lifetime.signal,
      );
      return token;
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (isServiceError(cause) && cause.details.includes("authentication is not enabled")) return undefined;
      throw error;
    }
  }
}

function metadataWith(token: string | undefined): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("token", token);
  return metadata;
}
