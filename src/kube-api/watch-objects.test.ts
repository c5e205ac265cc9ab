import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { until } from "../../lab/wait.ts";
import { Pki } from "../../test/etcd/pki.ts";
import { KubeApiServer, readNodeA } from "../../test/support/kube-api-server.ts";
import { describeError } from "../errors.ts";
import { memberOf, textOf } from "../json/untyped-fields.ts";
import { type ApiAccess, anonymous } from "./api-access.ts";
import { ApiClient } from "./api-client.ts";
import { StaticCredentials } from "./credentials.ts";
import { usualWatchTimings, type WatchNews, type WatchTarget, watchObjects } from "./watch-objects.ts";

const target: WatchTarget<string> = {
  path: "/api/v1/nodes",
  resource: "nodes",
  read: (object) => textOf(memberOf(memberOf(object, "metadata"), "name")),
};
const timings = { ...usualWatchTimings, backOffFirstMs: 5, backOffMaxMs: 20 };

function accessTo(...urls: string[]): ApiAccess {
  return {
    servers: urls.map((url) => new URL(url)),
    isInsecure: false,
    credentials: anonymous,
    headers: {},
    warnings: [],
    description: urls.join(","),
  };
}

/** Collects what a watch tells until disposed. */
class Watching implements AsyncDisposable {
  readonly news: WatchNews<string>[] = [];
  readonly #stop = new AbortController();
  readonly #client: ApiClient;
  readonly #done: Promise<void>;

  constructor(access: ApiAccess, watchTimings = timings) {
    this.#client = new ApiClient(access, {}, "test");
    this.#done = this.#run(watchTimings);
  }

  async #run(watchTimings: typeof timings): Promise<void> {
    for await (const news of watchObjects(this.#client, target, this.#stop.signal, watchTimings)) this.news.push(news);
  }

  /** The objects as the news leave them. */
  get state(): string[] {
    const state = new Set<string>();
    for (const news of this.news) {
      if (news.type === "list") {
        state.clear();
        for (const name of news.objects) state.add(name);
      } else if (news.type === "put") state.add(news.object);
      else if (news.type === "delete") state.delete(news.object);
    }
    return [...state].sort();
  }

  count(type: WatchNews<string>["type"]): number {
    return this.news.filter((news) => news.type === type).length;
  }

  async has(...names: string[]): Promise<void> {
    await until(() => JSON.stringify(this.state) === JSON.stringify(names), { what: `the objects ${names.join(" ")}` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
    await this.#client[Symbol.asyncDispose]();
  }
}

/** Between client and server: connections may be led elsewhere, held up, or answered as a proxy would. */
async function relay(onConnection: (socket: Socket) => void): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await server[Symbol.asyncDispose]();
    },
  };
}

function pipe(socket: Socket, port: number): void {
  const upstream = connect(port, "127.0.0.1");
  upstream.on("error", () => undefined);
  socket.pipe(upstream).pipe(socket);
}

describe("watchObjects", () => {
  it("lists in pages, then tells each change in order", async () => {
    await using server = await KubeApiServer.start();
    for (let number = 100; number < 700; number++) server.putNode(`n${number}`);
    await using watching = new Watching(accessTo(server.url));
    await until(() => watching.count("contact") > 0, { what: "the watch" });
    expect(watching.news[0]).toMatchObject({ type: "list", resourceVersion: "700" });
    expect(server.requests.filter(({ query }) => query.get("limit") === "250")).toHaveLength(3);
    for (let number = 101; number < 700; number++) server.deleteNode(`n${number}`);
    server.putNode("new");
    await watching.has("n100", "new");
    expect(watching.count("list")).toBe(1);
  });

  it("goes on after each cut from where it was, and lists again when that is no longer known", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    await using watching = new Watching(accessTo(server.url));
    await watching.has("a");
    server.cutAfterEvents = 1;
    for (const name of ["b", "c", "d"]) server.putNode(name);
    await watching.has("a", "b", "c", "d");
    expect(watching.count("list")).toBe(1);
    server.cutConnections();
    server.deleteNode("a");
    server.putNode("e");
    server.compact();
    server.cutAfterEvents = Number.POSITIVE_INFINITY;
    server.cutConnections();
    await watching.has("b", "c", "d", "e");
  });

  it("lists again when the server's store was put back from an older copy", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    const copy = server.copy();
    server.putNode("lost");
    await using watching = new Watching(accessTo(server.url));
    await watching.has("a", "lost");
    server.putBack(copy);
    await watching.has("a");
    expect(watching.news.filter(({ type }) => type === "list")).toMatchObject([{}, { isOtherStore: true }]);
    server.putNode("b");
    await watching.has("a", "b");
    // An end of the watch alone is none of that.
    server.cutConnections();
    server.putNode("c");
    await watching.has("a", "b", "c");
    expect(watching.count("list")).toBe(2);
  });

  it("lists again in time, which finds what no watch tells: a store that was put back and has passed what was reported", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    const { nodes } = server.copy();
    server.putNode("lost");
    await using watching = new Watching(accessTo(server.url), { ...timings, listAgainMs: 1 });
    await watching.has("a", "lost");
    server.putBack({ nodes, version: server.copy().version + 5 });
    await watching.has("a");
    expect(watching.news.find((news) => "isOtherStore" in news)).toBeUndefined();
  });

  it.each([
    ["{}"],
    ["[]"],
    ['{"kind":"NodeList","metadata":{"resourceVersion":"900"}}'],
    ['{"kind":"NodeList","metadata":{"resourceVersion":"900"},"items":null}'],
  ])("takes other JSON for no list: %s", async (body) => {
    await using proxy = await relay((socket) => {
      socket.on("data", () => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`));
    });
    await using watching = new Watching(accessTo(`http://127.0.0.1:${proxy.port}`));
    await until(() => watching.count("disconnected") > 1, { what: "the failure to be reported" });
    expect(watching.count("list")).toBe(0);
  });

  it("a bookmark moves on where it begins again", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    await using watching = new Watching(accessTo(server.url));
    await until(() => watching.count("contact") > 0, { what: "the watch" });
    server.bookmark();
    await until(() => watching.count("contact") > 1, { what: "the bookmark" });
    server.compact();
    server.cutConnections();
    server.putNode("b");
    await watching.has("a", "b");
    expect(watching.count("list")).toBe(1);
  });

  it("reopens a silent watch, since a half-open connection is silent", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    const frozen = new Set<Socket>();
    let isFrozen = false;
    await using between = await relay((socket) => {
      if (isFrozen) frozen.add(socket);
      else pipe(socket, server.port);
    });
    await using watching = new Watching(accessTo(`http://127.0.0.1:${between.port}`), { ...timings, silenceMs: 300 });
    await until(() => server.requests.filter(({ query }) => query.get("watch") === "true").length >= 3, {
      what: "watches reopened",
    });
    expect(watching.count("disconnected")).toBe(0);
    isFrozen = true;
    await until(() => watching.count("disconnected") > 0, { what: "the sign that it is gone" });
    isFrozen = false;
    server.putNode("b");
    for (const socket of frozen) socket.destroy();
    await watching.has("a", "b");
    for (const socket of frozen) socket.destroy();
  });

  it("names the verb that is missing, and goes on when it is allowed", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    server.refusals = [{ verb: "watch", resource: "nodes", status: 403 }];
    await using watching = new Watching(accessTo(server.url));
    const sign = await until(() => watching.news.find(({ type }) => type === "disconnected"), { what: "the refusal" });
    expect(sign).toMatchObject({
      reason: expect.stringContaining('watch nodes is forbidden: allow the verb "watch" on "nodes" in the ClusterRole'),
    });
    server.refusals = [];
    server.putNode("b");
    await watching.has("a", "b");
  });

  it("takes another server of the cluster when one is away or cannot serve", async () => {
    await using server = await KubeApiServer.start();
    await using ill = await KubeApiServer.start();
    server.putNode("a");
    ill.refusals = [{ verb: "list", resource: "nodes", status: 503 }];
    await using watching = new Watching(accessTo("http://127.0.0.1:1", ill.url, server.url));
    await watching.has("a");
    expect(watching.count("disconnected")).toBe(0);
  });
});

describe("ApiClient", () => {
  const signal = new AbortController().signal;

  it("asks for other credentials once when the server refuses them", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    server.token = "new";
    let token = "old";
    const credentials = {
      current: () => Promise.resolve({ headers: { authorization: `Bearer ${token}` } }),
      refused: () => {
        token = "new";
      },
    };
    await using client = new ApiClient({ ...accessTo(server.url), credentials }, {}, "test");
    expect(await client.call(readNodeA, signal)).toMatchObject({ metadata: { name: "a" } });
    server.token = "other";
    await expect(client.call(readNodeA, signal)).rejects.toMatchObject({ code: "STORE_UNAUTHORIZED" });
  });

  it("survives a kept connection that the server has closed", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    await using client = new ApiClient(accessTo(server.url), {}, "test");
    for (let round = 0; round < 5; round++) {
      await client.call(readNodeA, signal);
      server.cutConnections();
    }
  });

  it("goes through an HTTP proxy and through SOCKS5, with a user", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("a");
    const seen: string[] = [];
    await using http = await relay((socket) => {
      socket.once("data", (head: Buffer) => {
        seen.push(head.toString().replaceAll("\r\n", "|"));
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        pipe(socket, server.port);
      });
    });
    await using socks = await relay((socket) => {
      const answers = [Buffer.from([5, 2]), Buffer.from([1, 0]), Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 80])];
      const answer = (request: Buffer) => {
        seen.push(request.toString("hex"));
        socket.write(answers.shift() ?? "");
        if (answers.length > 0) return;
        socket.off("data", answer);
        pipe(socket, server.port);
      };
      socket.on("data", answer);
    });
    for (const proxy of [`http://u:p@127.0.0.1:${http.port}`, `socks5://u:p@127.0.0.1:${socks.port}`]) {
      await using client = new ApiClient({ ...accessTo("http://k.example:6443"), proxy: new URL(proxy) }, {}, "test");
      expect(await client.call(readNodeA, signal)).toMatchObject({ metadata: { name: "a" } });
    }
    expect(seen).toEqual([
      "CONNECT k.example:6443 HTTP/1.1|Host: k.example:6443|Proxy-Authorization: Basic dTpw||",
      "05020002",
      "0101750170",
      `0501000309${Buffer.from("k.example").toString("hex")}192b`,
    ]);
    await using refusing = await relay(
      (socket) => void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
    );
    const access = { ...accessTo("https://k.example"), proxy: new URL(`http://127.0.0.1:${refusing.port}`) };
    await using client = new ApiClient(access, {}, "test");
    const failure = await client.call(readNodeA, signal).catch(describeError);
    expect(failure).toContain("does not lead there: it answered HTTP 407");
  });

  it("checks the server's certificate, shows its own, and says what is wrong", async () => {
    await using pki = await Pki.create();
    const files = { key: readFileSync(pki.serverKey, "utf8"), cert: readFileSync(pki.serverCert, "utf8") };
    await using server = await KubeApiServer.start({ tls: { ...files, ca: readFileSync(pki.ca, "utf8") } });
    server.putNode("a");
    const url = `https://127.0.0.1:${server.port}`;
    const certificate = { cert: { file: pki.clientCert }, key: { file: pki.clientKey } };
    const good: ApiAccess = {
      ...accessTo(url),
      authority: { file: pki.ca },
      credentials: new StaticCredentials({ certificate }),
    };
    const outcome = async (access: ApiAccess) => {
      await using client = new ApiClient(access, {}, "test");
      return await client.call(readNodeA, signal).then(() => "read", describeError);
    };
    expect(await outcome(good)).toBe("read");
    expect(await outcome({ ...good, tlsServerName: "localhost" })).toBe("read");
    expect(await outcome({ ...good, tlsServerName: "kubernetes" })).toContain("tls-server-name in the kubeconfig file");
    const { authority: _, ...withoutAuthority } = good;
    expect(await outcome(withoutAuthority)).toContain("the CA certificate that was given did not sign the server's");
    expect(await outcome({ ...withoutAuthority, isInsecure: true })).toBe("read");
    expect(await outcome({ ...good, credentials: anonymous })).toContain("no connection to the API server");
  });
});
