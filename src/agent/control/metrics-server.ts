// GET /metrics for Prometheus. Read only; hostile clients are bounded as those of the health checks are.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { limitConnections, requestTimeouts } from "./connection-limit.ts";

export interface MetricsText {
  readonly contentType: string;
  readonly text: string;
}

export interface MetricsServerOptions {
  readonly host: string;
  readonly port: number;
  /** The metrics as of now. */
  readonly read: () => Promise<MetricsText>;
}

const MAX_CONNECTIONS = 64;
/** An answer is given again until that many times its cost has passed: no number of clients takes more of a core. */
const COST_SHARE = 20;

export class MetricsServer implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Rejects with Node's error when the address cannot be bound. */
  static async open({ host, port, read }: MetricsServerOptions): Promise<MetricsServer> {
    const answers = new SharedAnswer(read);
    const server = createServer(requestTimeouts, (request, response) => void answer(request, response, answers));
    limitConnections(server, MAX_CONNECTIONS);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ host, port }, resolve);
    await promise;
    server.removeListener("error", reject);
    server.on("error", () => undefined);
    return new MetricsServer(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

class SharedAnswer {
  readonly #read: () => Promise<MetricsText>;
  #latest: Promise<MetricsText> | undefined;
  #endsAtMs = 0;

  constructor(read: () => Promise<MetricsText>) {
    this.#read = read;
  }

  get(): Promise<MetricsText> {
    if (this.#latest === undefined || performance.now() > this.#endsAtMs) this.#latest = this.#make();
    return this.#latest;
  }

  async #make(): Promise<MetricsText> {
    const startMs = performance.now();
    this.#endsAtMs = Number.POSITIVE_INFINITY;
    try {
      return await this.#read();
    } finally {
      const endMs = performance.now();
      this.#endsAtMs = endMs + (endMs - startMs) * COST_SHARE;
    }
  }
}

async function answer(request: IncomingMessage, response: ServerResponse, answers: SharedAnswer): Promise<void> {
  request.resume();
  const [path] = (request.url ?? "/").split("?", 1);
  if (path !== "/metrics") return send(response, 404, { text: "the metrics are at /metrics\n" });
  if (request.method !== "GET" && request.method !== "HEAD") return send(response, 405, { text: "only GET\n" });
  try {
    send(response, 200, await answers.get());
  } catch {
    send(response, 500, { text: "the metrics could not be read: the agent's log has the reason\n" });
  }
}

function send(response: ServerResponse, status: number, { contentType, text }: Partial<MetricsText>): void {
  response.writeHead(status, {
    "content-type": contentType ?? "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(text ?? ""),
    ...(status === 405 && { allow: "GET, HEAD" }),
  });
  response.end(text);
}
