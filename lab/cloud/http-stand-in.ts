// A small HTTP server of a test that stands for a service of a cloud provider.
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface StandInRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface StandInAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** `silent`: takes the request and never answers. */
export type Respond = (request: StandInRequest) => StandInAnswer | "silent" | Promise<StandInAnswer | "silent">;

export class HttpStandIn implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** `address` is one that this process has; port 0 lets the kernel choose. */
  static async start(respond: Respond, address = "127.0.0.1", port = 0): Promise<HttpStandIn> {
    const server = createServer((incoming, outgoing) => {
      const answer = async () => {
        let body = "";
        for await (const part of incoming) body += String(part);
        const { method = "GET", headers, url: path = "/" } = incoming;
        const given = await respond({ method, headers, body, url: new URL(path, "http://stand.in") });
        if (given !== "silent") outgoing.writeHead(given.status, given.headers ?? {}).end(given.body);
      };
      answer().catch((error: unknown) => outgoing.writeHead(500).end(String(error)));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, address, resolve);
    });
    return new HttpStandIn(server);
  }

  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${address}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
