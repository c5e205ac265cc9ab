// /healthz and /readyz for kubelets and load balancers: upstream's paths, codes and texts; the state as it is now.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { FlannelError } from "../../errors.ts";
import { printableJson } from "../../terminal/foreign-text.ts";
import { limitConnections, requestTimeouts } from "./connection-limit.ts";
import type { Status } from "./control-protocol.ts";

/** For `?verbose`. */
export interface HealthState {
  readonly state: Status["state"];
  readonly reasons: readonly Status["reasons"][number][];
}

export interface HealthServerOptions {
  readonly ip: string;
  readonly port: number;
  /** As reported now; `notReady` answers 503. */
  readonly state: () => HealthState;
  /** Of one of several networks (`?network=NAME`); undefined when there is none of that name. */
  readonly stateOf?: (network: string) => HealthState | undefined;
}

export class HealthServer implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Rejects with `USAGE` when the address cannot be bound: a probe that never answers is worse than no start. */
  static async open(options: HealthServerOptions): Promise<HealthServer> {
    const server = createServer(requestTimeouts, (request, response) => answer(request, response, options));
    limitConnections(server, 128);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen({ host: options.ip, port: options.port }, resolve);
    try {
      await promise;
    } catch (cause) {
      const where = `${options.ip}:${options.port}`;
      throw new FlannelError("USAGE", `cannot serve health checks on ${where}: choose another --healthz-port`, {
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

function answer(request: IncomingMessage, response: ServerResponse, options: HealthServerOptions): void {
  const [path, query] = (request.url ?? "/").split("?", 2);
  if (path !== "/healthz" && path !== "/readyz") {
    send(response, 404, "text/plain", "404 page not found\n");
    return;
  }
  const parameters = new URLSearchParams(query);
  const isVerbose = parameters.has("verbose");
  const network = parameters.get("network");
  const found = network === null ? options.state() : options.stateOf?.(network);
  if (found === undefined) {
    send(response, 404, "text/plain", "there is no such network\n");
    return;
  }
  const { status, text, body } = path === "/healthz" ? liveness : readiness(found);
  if (isVerbose) send(response, status, "application/json", `${printableJson(JSON.stringify(body))}\n`);
  else send(response, status, "text/plain", text);
}

/** A process that answers lives, whatever it can do. */
const liveness = { status: 200, text: "flanneld is running", body: { running: true } };

function readiness({ state, reasons }: NonNullable<ReturnType<HealthServerOptions["state"]>>) {
  const ready = state !== "notReady";
  return {
    status: ready ? 200 : 503,
    text: `flanneld is ${ready ? "ready" : "not ready yet"}`,
    body: { ready, state, reasons },
  };
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "content-length": Buffer.byteLength(body) });
  response.end(body);
}
