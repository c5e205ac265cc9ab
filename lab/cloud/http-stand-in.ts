// A small HTTP server of a test that stands for a service of a cloud provider.
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
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

/** PEM texts; with them it serves HTTPS. */
export interface StandInCertificate {
  readonly cert: string;
  readonly key: string;
}

export class HttpStandIn implements AsyncDisposable {
  readonly #server: Server;
  readonly #isSecure: boolean;

  private constructor(server: Server, isSecure: boolean) {
    this.#server = server;
    this.#isSecure = isSecure;
  }

  /** `address` is one that this process has; port 0 lets the kernel choose. */
  static async start(
    respond: Respond,
    address = "127.0.0.1",
    port = 0,
    certificate?: StandInCertificate,
  ): Promise<HttpStandIn> {
    const listener: RequestListener = (incoming, outgoing) => {
      const answer = async () => {
        let body = "";
        for await (const part of incoming) body += String(part);
        const { method = "GET", headers, url: path = "/" } = incoming;
        const given = await respond({ method, headers, body, url: new URL(path, "http://stand.in") });
        if (given !== "silent") outgoing.writeHead(given.status, given.headers ?? {}).end(given.body);
      };
      answer().catch((error: unknown) => outgoing.writeHead(500).end(String(error)));
    };
    const server =
      certificate === undefined ? createServer(listener) : createSecureServer({ ...certificate }, listener);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, address, resolve);
    });
    return new HttpStandIn(server, certificate !== undefined);
  }

  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `${this.#isSecure ? "https" : "http"}://${address}:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
