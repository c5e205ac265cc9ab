// Serves the page and its feed: GET alone, to those who were let in, with a bound on everything that a client can make it keep.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { limitConnections, requestTimeouts } from "../../../agent/control/connection-limit.ts";
import { FlannelError } from "../../../errors.ts";
import { Admission, isAhead, isForeign } from "./admission.ts";
import type { Board } from "./board.ts";
import { startFeed } from "./feed.ts";
import { type ListenPlan, originOf } from "./listen-plan.ts";
import type { PageFile } from "./page-file.ts";

const MAX_CONNECTIONS = 48;
/** Of TLS, at a time; each is given up after a few seconds. */
const MAX_HANDSHAKES = 200;
const MAX_FEEDS = 8;
const MAX_HEADER_BYTES = 16_384;

export interface DashboardServerOptions {
  readonly plan: ListenPlan;
  readonly page: PageFile;
  readonly board: Board;
  /** With the next link, after one was used; `address` is whose. */
  readonly onOpened: (address: string) => void;
  /** How many watch now: nothing needs to be read for nobody. */
  readonly onWatched: (feeds: number) => void;
}

export class DashboardServer implements AsyncDisposable {
  readonly #options: DashboardServerOptions;
  readonly #admission: Admission;
  readonly #server: Server;
  readonly #feeds = new Set<ServerResponse>();

  private constructor(options: DashboardServerOptions) {
    this.#options = options;
    this.#admission = new Admission(options.plan);
    const limits = { ...requestTimeouts, maxHeaderSize: MAX_HEADER_BYTES };
    const onRequest = (request: IncomingMessage, response: ServerResponse) => this.#answer(request, response);
    const { tls } = options.plan;
    this.#server =
      tls === undefined
        ? createServer(limits, onRequest)
        : createTlsServer({ ...limits, ...tls, minVersion: "TLSv1.2", handshakeTimeout: 5_000 }, onRequest);
    limitConnections(this.#server, MAX_CONNECTIONS, tls === undefined ? "connection" : "secureConnection");
    if (tls !== undefined) this.#server.maxConnections = MAX_CONNECTIONS + MAX_HANDSHAKES;
  }

  /** Rejects with `USAGE` when the address cannot be bound. */
  static async open(options: DashboardServerOptions): Promise<DashboardServer> {
    const dashboard = new DashboardServer(options);
    const server = dashboard.#server;
    const { host, port } = options.plan.address;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ host, port }, resolve);
    try {
      await promise;
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new FlannelError("USAGE", `cannot listen on ${host}:${port}: ${reason}; give another --listen HOST:PORT`, {
        cause,
      });
    }
    server.removeListener("error", reject);
    server.on("error", () => undefined);
    return dashboard;
  }

  /** Works once. */
  get link(): string {
    return `${this.origin}/?token=${this.#admission.token}`;
  }

  get origin(): string {
    const address = this.#server.address();
    const port = typeof address === "object" && address !== null ? address.port : this.#options.plan.address.port;
    return originOf(this.#options.plan, port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }

  #answer(request: IncomingMessage, response: ServerResponse): undefined {
    request.resume();
    for (const [name, value] of Object.entries(this.#headers())) response.setHeader(name, value);
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      return sendText(response, 405, "this page is for looking at: only GET\n");
    }
    const refusal = this.#admission.refuse(request);
    if (refusal !== undefined) return sendText(response, refusal.status, refusal.text);
    const [path = "/", query] = (request.url ?? "/").split("?", 2);
    const [, id, file] = /^\/v\/([A-Za-z0-9_-]{43})\/(feed)?$/.exec(path) ?? [];
    if (id !== undefined) return this.#answerSession(id, file, request, response);
    if (path === "/") return this.#answerLink(new URLSearchParams(query).get("token"), request, response);
    sendText(response, 404, "there is nothing here\n");
  }

  #headers(): Readonly<Record<string, string>> {
    return {
      "cache-control": "no-store",
      "content-security-policy": this.#options.page.contentSecurityPolicy,
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
      "permissions-policy": "camera=(), geolocation=(), microphone=()",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
    };
  }

  #answerLink(token: string | null, request: IncomingMessage, response: ServerResponse): undefined {
    if (token === null) return sendText(response, 401, `open the link that flannelctl printed: it works once\n`);
    if (request.method !== "GET" || isAhead(request)) return sendText(response, 403, "open the link itself\n");
    const opened = this.#admission.open(token);
    if (opened === undefined) return sendText(response, 401, usedUp);
    response.writeHead(303, { location: opened.path, "set-cookie": opened.cookie });
    response.end();
    this.#options.onOpened(request.socket.remoteAddress ?? "");
  }

  #answerSession(id: string, file: string | undefined, request: IncomingMessage, response: ServerResponse): undefined {
    if (!this.#admission.isOpen(id, request)) return sendText(response, 401, usedUp);
    if (file === undefined) {
      const { html } = this.#options.page;
      response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": html.length });
      response.end(request.method === "HEAD" ? undefined : html);
      return;
    }
    if (isForeign(request) || request.method !== "GET")
      return sendText(response, 403, "only the page itself may ask\n");
    if (this.#feeds.size >= MAX_FEEDS) {
      return sendText(response, 503, `${MAX_FEEDS} pages are open already: close one of them\n`);
    }
    this.#feeds.add(response);
    response.once("close", () => {
      this.#feeds.delete(response);
      this.#options.onWatched(this.#feeds.size);
    });
    this.#options.onWatched(this.#feeds.size);
    startFeed(response, this.#options.board);
  }
}

const usedUp =
  "this link was used already, or flannelctl dashboard was restarted: open the link that it printed last\n";

function sendText(response: ServerResponse, status: number, text: string): undefined {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}
