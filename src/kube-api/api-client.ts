// Requests to the Kubernetes API over HTTP/1.1 with connections kept: JSON in and out, deadlines, other servers when one
// fails, credentials again when they are refused. What a request means is for those who make it.
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { type Duplex, PassThrough } from "node:stream";
import { FlannelError } from "../errors.ts";
import type { ApiAccess, Credentials } from "./api-access.ts";
import { fromConnection, fromStatus, hasHttpStatus, notJson, type RequestSubject } from "./api-errors.ts";
import { openSocket } from "./api-socket.ts";
import type { Environment } from "./in-cluster.ts";
import { proxyFromEnvironment } from "./proxy-choice.ts";
import { RequestBudget } from "./request-budget.ts";

export interface ApiRequest extends RequestSubject {
  readonly method: "GET" | "PATCH" | "POST";
  /** Below the server's own path: `/api/v1/nodes`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Of the body; `application/json` if missing. */
  readonly contentType?: string;
  /** Forms of the answer; `application/json` if missing. */
  readonly accept?: string;
}

/** Until the first byte of an answer, and between two of them. */
const ANSWER_TIMEOUT_MS = 8_000;
/** Of one object: etcd takes 1.5 MiB. Lists are not read as a whole. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
/** One watch, and a request or two beside it. */
const MAX_CONNECTIONS = 6;
const IDLE_CONNECTION_MS = 30_000;

export class ApiClient implements AsyncDisposable {
  readonly access: ApiAccess;
  readonly #userAgent: string;
  readonly #env: Environment;
  readonly #budget = new RequestBudget();
  readonly #closed = new AbortController();
  /** Connections by the certificate they were made with: another one needs others. */
  readonly #agents = new Map<string, Agent>();
  #server = 0;

  constructor(access: ApiAccess, env: Environment, userAgent: string) {
    this.access = access;
    this.#env = env;
    this.#userAgent = userAgent;
  }

  /** The parsed answer. Rejects with a FlannelError; see `fromStatus`. */
  async call(request: ApiRequest, signal: AbortSignal): Promise<unknown> {
    const response = await this.open(request, signal);
    try {
      return JSON.parse(await readText(response, MAX_ANSWER_BYTES));
    } catch (error) {
      throw error instanceof SyntaxError ? notJson(request) : fromConnection(error, request, this.#current.host);
    }
  }

  /** Hands the answer on as it comes. Rejects as `call`, and when `take` throws. */
  async pour(request: ApiRequest, signal: AbortSignal, take: (chunk: Uint8Array) => void): Promise<void> {
    const response = await this.open(request, signal);
    try {
      for await (const chunk of response) take(chunk as Buffer);
      if (!response.complete) throw new Error("the answer was cut off");
    } catch (error) {
      throw fromConnection(error, request, this.#current.host);
    }
  }

  /** The answer as it comes, once its status says success. The caller reads or destroys it. */
  async open(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const inner = AbortSignal.any([signal, this.#closed.signal]);
    let lastError: unknown;
    // Every server once, and one more time where a kept connection was dead or credentials were old.
    for (let tries = 0; tries <= this.access.servers.length; tries++) {
      if (inner.aborted) throw new FlannelError("CANCELLED", `${request.operation}: cancelled`);
      try {
        await this.#budget.take(inner);
        return await this.#openOnce(request, inner);
      } catch (error) {
        lastError = error;
        if (hasHttpStatus(error, 401) && tries === 0) this.access.credentials.refused();
        else if (!this.#mayHelpElsewhere(error, tries)) throw error;
      }
    }
    throw lastError;
  }

  /** Connections from an old address of this host are dead: the next request makes new ones. */
  reconnect(): void {
    for (const agent of this.#agents.values()) agent.destroy();
    this.#agents.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    this.reconnect();
    await Promise.resolve();
  }

  get #current(): URL {
    const { servers } = this.access;
    return servers[this.#server % servers.length] ?? servers[0] ?? new URL("http://none.invalid");
  }

  /** Moves on to the next server after a failure that another one may not have. */
  #mayHelpElsewhere(error: unknown, tries: number): boolean {
    if (!(error instanceof FlannelError) || error.code !== "STORE_UNAVAILABLE") return false;
    const isDeadConnection = error.details["isReusedConnection"] === true && tries === 0;
    const isServerAway = error.details["httpStatus"] === undefined || hasHttpStatus(error, 502, 503, 504);
    if (isDeadConnection) return true;
    if (!isServerAway || this.access.servers.length < 2) return false;
    this.#server++;
    return true;
  }

  async #openOnce(request: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const server = this.#current;
    let sent: ClientRequest | undefined;
    try {
      const credentials = await this.access.credentials.current(signal);
      sent = this.#send(request, server, credentials, signal);
      const response = await untilAnswered(sent);
      const { statusCode = 0 } = response;
      if (statusCode >= 200 && statusCode < 300) return response;
      const text = await readText(response, MAX_ERROR_BYTES);
      throw fromStatus(statusCode, text, request, retryAfter(response));
    } catch (error) {
      const failure = fromConnection(signal.aborted ? abortError(error) : error, request, server.host);
      // A server that answers is alive.
      const isAnswered = failure.details["httpStatus"] !== undefined;
      if (sent?.reusedSocket !== true || failure.code !== "STORE_UNAVAILABLE" || isAnswered) throw failure;
      const details = { ...failure.details, isReusedConnection: true };
      throw new FlannelError(failure.code, failure.message, {
        cause: error,
        tellsCause: true,
        retryable: true,
        details,
      });
    }
  }

  #send(request: ApiRequest, server: URL, credentials: Credentials, signal: AbortSignal): ClientRequest {
    const { method, path, query = {}, body, contentType = "application/json", accept = "application/json" } = request;
    const search = new URLSearchParams(query).toString();
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const sent = httpRequest({
      agent: this.#agentFor(server, credentials),
      method,
      host: server.hostname,
      path: `${server.pathname.replace(/\/$/, "")}${path}${search === "" ? "" : `?${search}`}`,
      signal,
      timeout: ANSWER_TIMEOUT_MS,
      headers: {
        Host: server.host,
        Accept: accept,
        "User-Agent": this.#userAgent,
        ...toHeaders(this.access.headers),
        ...credentials.headers,
        ...(bytes !== undefined && { "Content-Type": contentType, "Content-Length": bytes.length }),
      },
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${ANSWER_TIMEOUT_MS / 1_000} s`)));
    sent.end(bytes);
    return sent;
  }

  #agentFor(server: URL, credentials: Credentials): Agent {
    const key = `${server.href} ${credentials.clientCertificate?.cert ?? ""}`;
    const known = this.#agents.get(key);
    if (known !== undefined) return known;
    // A certificate is replaced by a newer one: connections of the old one end by themselves.
    if (this.#agents.size > 4) this.reconnect();
    const proxy = this.access.proxy ?? proxyFromEnvironment(server, this.#env);
    const agent = new ApiAgent((done) => {
      openSocket(this.access, { server, proxy }, credentials).then(
        (socket) => done(null, socket),
        // Node takes no look at a stream that comes with an error.
        (error: unknown) => done(error instanceof Error ? error : new Error(String(error)), new PassThrough()),
      );
    });
    this.#agents.set(key, agent);
    return agent;
  }
}

type Done = (error: Error | null, stream: Duplex) => void;

/** Node's pool of connections, with connections of our own making: TLS is below it. */
class ApiAgent extends Agent {
  readonly #connect: (done: Done) => void;

  constructor(connect: (done: Done) => void) {
    super({ keepAlive: true, maxSockets: MAX_CONNECTIONS, maxFreeSockets: 2, timeout: IDLE_CONNECTION_MS });
    this.#connect = connect;
  }

  override createConnection(_options: unknown, callback?: Done): undefined {
    this.#connect(callback ?? (() => undefined));
    return undefined;
  }
}

async function untilAnswered(sent: ClientRequest): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  sent.once("response", resolve);
  // Stays for later errors, which the reader of the answer sees too.
  sent.on("error", reject);
  return await promise;
}

async function readText(response: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response) {
    const bytes = chunk as Buffer;
    length += bytes.length;
    if (length > maxBytes) throw new Error(`the answer is longer than ${maxBytes} bytes`);
    chunks.push(bytes);
  }
  if (!response.complete) throw new Error("the answer was cut off");
  return Buffer.concat(chunks).toString("utf8");
}

function retryAfter({ headers }: IncomingMessage): number | undefined {
  const seconds = Number(headers["retry-after"]);
  return Number.isInteger(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1_000 : undefined;
}

function toHeaders(headers: ApiAccess["headers"]): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
  );
}

function abortError(cause: unknown): Error {
  const error = new Error("cancelled", { cause });
  error.name = "AbortError";
  return error;
}
