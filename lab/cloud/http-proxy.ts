// A forward proxy for plain HTTP, such as `HTTP_PROXY` names: passes each request on and remembers where it went.
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export class HttpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #address: string;
  /** `http://HOST:PORT` of each request, in their order. */
  readonly origins: string[] = [];

  private constructor(address: string) {
    this.#address = address;
    this.#server = createServer((incoming, response) => this.#pass(incoming, response));
  }

  static async start(address: string): Promise<HttpProxy> {
    const proxy = new HttpProxy(address);
    await new Promise<void>((resolve) => proxy.#server.listen(0, address, resolve));
    return proxy;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://${this.#address}:${port}`;
  }

  #pass(incoming: IncomingMessage, response: ServerResponse): void {
    const { url = "", method = "GET", headers } = incoming;
    if (!URL.canParse(url)) {
      response.writeHead(400).end();
      return;
    }
    this.origins.push(new URL(url).origin);
    const passed = request(url, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    incoming.pipe(passed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
