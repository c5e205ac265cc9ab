// An HTTP proxy as companies have them: hands connections on (CONNECT) for who knows the password, and notes to where.
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";

export class ForwardProxy implements AsyncDisposable {
  /** `host:port` of each connection that was asked for by CONNECT, and the URL of each request without one. */
  readonly asked: string[] = [];
  /** Lets nobody through. */
  isClosed = false;
  readonly #server: Server;
  readonly #password: string;
  readonly #connections = new Set<Duplex>();

  private constructor(server: Server, password: string) {
    this.#server = server;
    this.#password = password;
  }

  static async start(address: string, password: string): Promise<ForwardProxy> {
    const server = createServer();
    const proxy = new ForwardProxy(server, password);
    server.on("connect", (request: IncomingMessage, client: Duplex) => proxy.#connect(request, client));
    server.on("request", ({ url = "" }, response) => {
      proxy.asked.push(url);
      response.writeHead(403).end();
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, address, resolve);
    });
    return proxy;
  }

  /** With user and password. */
  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://flannel:${this.#password}@${address}:${port}`;
  }

  /** Ends the connections that are open, as a proxy that is started again. */
  dropAll(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dropAll();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #connect({ url = "", headers }: IncomingMessage, client: Duplex): void {
    client.on("error", () => client.destroy());
    this.asked.push(url);
    const expected = `Basic ${Buffer.from(`flannel:${this.#password}`).toString("base64")}`;
    const refusal = headers["proxy-authorization"] !== expected ? "407 Proxy Authentication Required" : undefined;
    const status = this.isClosed ? "503 Service Unavailable" : refusal;
    if (status !== undefined) {
      client.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const { hostname, port } = new URL(`http://${url}`);
    const target: Socket = connect(Number(port), hostname, () => {
      client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      client.pipe(target).pipe(client);
    });
    for (const [end, other] of [
      [client, target],
      [target, client],
    ] as const) {
      this.#connections.add(end);
      end.on("error", () => end.destroy());
      end.on("close", () => {
        this.#connections.delete(end);
        other.destroy();
      });
    }
  }
}
