// An HTTP proxy before the lab's API server that goes wrong as real ones do: slow, with errors of its own, watches cut in the
// middle of an event. It speaks plain HTTP to clients, whose tokens it hands on.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Agent, request } from "node:https";
import { setTimeout as delay } from "node:timers/promises";
import type { KubernetesApi } from "./api-server.ts";

export interface ApiFaults {
  /** Before each answer begins. */
  readonly delayMs?: number;
  /** The answer to every request, with the body that goes with it. */
  readonly answer?: { readonly status: number; readonly body: string };
  /** Only requests whose path and query match are concerned. */
  readonly of?: RegExp;
}

export class FaultProxy implements AsyncDisposable {
  readonly url: string;
  /** What is wrong from the next request on. */
  faults: ApiFaults = {};
  /** Method, path and query of each request so far. */
  readonly seen: string[] = [];
  readonly #server: Server;
  readonly #upstream: Agent;
  readonly #watches = new Set<{ readonly response: ServerResponse; isToBeCut: boolean }>();

  private constructor(server: Server, upstream: Agent, url: string) {
    this.#server = server;
    this.#upstream = upstream;
    this.url = url;
    server.on("request", (call: IncomingMessage, response: ServerResponse) => {
      this.#handle(call, response).catch(() => response.destroy());
    });
  }

  /** Listens on that address of the box. */
  static async start(api: KubernetesApi, address: string, port: number): Promise<FaultProxy> {
    const upstream = new Agent({ keepAlive: true, ca: readFileSync(api.pki.caFile) });
    const server = createServer();
    server.listen(port, address);
    await once(server, "listening");
    return new FaultProxy(server, upstream, `http://${address}:${port}`);
  }

  /** Each watch that is open ends after half of the next event that it tells. Gives their number. */
  cutWatches(): number {
    for (const watch of this.#watches) watch.isToBeCut = true;
    return this.#watches.size;
  }

  /** All connections end now. */
  dropAll(): void {
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    this.#upstream.destroy();
    await closed;
  }

  async #handle(call: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = call.url ?? "/";
    this.seen.push(`${call.method} ${path}`);
    const { delayMs = 0, answer, of: only } = this.faults;
    const isConcerned = only === undefined || only.test(path);
    const body = await text(call);
    if (isConcerned && delayMs > 0) await delay(delayMs);
    if (isConcerned && answer !== undefined) {
      response.writeHead(answer.status, { "content-type": "application/json" }).end(answer.body);
      return;
    }
    const { host: _, connection: __, ...headers } = call.headers;
    const options = { host: "127.0.0.1", port: 6443, method: call.method, path, headers, agent: this.#upstream };
    const onward = request(options, (found) => this.#pass(path, found, response));
    onward.once("error", () => response.destroy());
    response.once("close", () => onward.destroy());
    onward.end(body);
  }

  #pass(path: string, found: IncomingMessage, response: ServerResponse): void {
    response.writeHead(found.statusCode ?? 502, found.headers);
    response.flushHeaders();
    const watch = { response, isToBeCut: false };
    if (/[?&]watch=/.test(path)) this.#watches.add(watch);
    response.once("close", () => this.#watches.delete(watch));
    found.on("data", (chunk: Buffer) => {
      if (!watch.isToBeCut) response.write(chunk);
      else response.write(chunk.subarray(0, chunk.length / 2), () => response.destroy());
    });
    found.once("end", () => response.end());
    found.once("error", () => response.destroy());
  }
}

async function text(call: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of call.setEncoding("utf8")) body += chunk as string;
  return body;
}
