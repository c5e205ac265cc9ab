// /healthz and /readyz for kubelets and load balancers: upstream's paths, codes and texts, readiness as a live statement.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { FlannelError } from "../../errors.ts";

export interface HealthServerOptions {
  readonly ip: string;
  readonly port: number;
  /** Why the agent is not ready right now; empty when it is. */
  readonly reasons: () => readonly string[];
}

export class HealthServer implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Rejects with `usage` when the address cannot be bound: a probe that never answers is worse than no start. */
  static async open(options: HealthServerOptions): Promise<HealthServer> {
    const server = createServer((request, response) => answer(request, response, options.reasons));
    server.headersTimeout = 5_000;
    server.requestTimeout = 5_000;
    server.maxConnections = 128;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ host: options.ip, port: options.port }, resolve);
    try {
      await promise;
    } catch (cause) {
      const where = `${options.ip}:${options.port}`;
      throw new FlannelError("usage", `cannot serve health checks on ${where}: choose another --healthz-port`, {
        cause,
      });
    }
    server.removeListener("error", reject);
    server.on("error", () => undefined);
    return new HealthServer(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

function answer(request: IncomingMessage, response: ServerResponse, readReasons: () => readonly string[]): void {
  const [path, query] = (request.url ?? "/").split("?", 2);
  if (path !== "/healthz" && path !== "/readyz") {
    send(response, 404, "text/plain", "404 page not found\n");
    return;
  }
  const reasons = path === "/readyz" ? readReasons() : [];
  const ready = reasons.length === 0;
  const text = path === "/healthz" ? "flanneld is running" : `flanneld is ${ready ? "ready" : "not ready yet"}`;
  if (new URLSearchParams(query).has("verbose")) {
    send(response, ready ? 200 : 503, "application/json", `${JSON.stringify({ ready, reasons })}\n`);
  } else {
    send(response, ready ? 200 : 503, "text/plain", text);
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "content-length": Buffer.byteLength(body) });
  response.end(body);
}
