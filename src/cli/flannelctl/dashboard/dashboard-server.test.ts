import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { until } from "../../../../lab/wait.ts";
import { Board } from "./board.ts";
import { DashboardServer } from "./dashboard-server.ts";
import { planListening } from "./listen-plan.ts";

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

class World implements AsyncDisposable {
  readonly board = new Board();
  readonly opened: string[] = [];
  readonly watched: number[] = [];
  #server: DashboardServer | undefined;

  static async open(): Promise<World> {
    const world = new World();
    world.#server = await DashboardServer.open({
      plan: planListening({ listen: "127.0.0.1:0" }),
      page: { html: Buffer.from("<p>page</p>"), contentSecurityPolicy: "default-src 'none'" },
      board: world.board,
      onOpened: (address) => world.opened.push(address),
      onWatched: (feeds) => world.watched.push(feeds),
    });
    return world;
  }

  get server(): DashboardServer {
    if (this.#server === undefined) throw new Error("not open");
    return this.#server;
  }

  get port(): number {
    return Number(new URL(this.server.origin).port);
  }

  begin(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request({ host: "127.0.0.1", port: this.port, path, method, headers, agent: false }, resolve)
        .on("error", reject)
        .end();
    });
  }

  async ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
    const response = await this.begin(path, headers, method);
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
  }

  get linkPath(): string {
    const { pathname, search } = new URL(this.server.link);
    return `${pathname}${search}`;
  }

  /** As a browser does with the link. */
  async enter(): Promise<{ readonly path: string; readonly cookie: string }> {
    const { headers, status } = await this.ask(this.linkPath);
    expect(status).toBe(303);
    const [cookie = ""] = (headers["set-cookie"]?.[0] ?? "").split(";");
    return { path: headers.location ?? "", cookie };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}

describe("who is let in", () => {
  it("a link works once; the cookie is for one path, and for no script", async () => {
    await using world = await World.open();
    const { linkPath } = world;
    const first = await world.ask(linkPath);
    expect(first).toMatchObject({ status: 303, body: "" });
    const path = first.headers.location ?? "";
    expect(path).toMatch(/^\/v\/[\w-]{43}\/$/);
    expect(first.headers["set-cookie"]?.[0]).toMatch(
      new RegExp(`^flannel-dashboard=[\\w-]{43}; Path=${path}; HttpOnly; SameSite=Lax$`),
    );
    expect(world.opened).toEqual(["127.0.0.1"]);
    expect(await world.ask(linkPath)).toMatchObject({ status: 401 });
    expect(world.linkPath).not.toBe(linkPath);
    const [cookie = ""] = (first.headers["set-cookie"]?.[0] ?? "").split(";");
    expect(await world.ask(path, { cookie })).toMatchObject({ status: 200, body: "<p>page</p>" });
    expect(await world.ask(path)).toMatchObject({ status: 401 });
    expect(await world.ask(path, { cookie: `${cookie}x` })).toMatchObject({ status: 401 });
    expect(await world.ask(`${path}feed`)).toMatchObject({ status: 401 });
  });

  it("one session's cookie does not open another's path", async () => {
    await using world = await World.open();
    const [a, b] = [await world.enter(), await world.enter()];
    expect(await world.ask(a.path, { cookie: b.cookie })).toMatchObject({ status: 401 });
    expect(await world.ask(a.path, { cookie: a.cookie })).toMatchObject({ status: 200 });
  });

  it("a browser that looks ahead does not use the link up", async () => {
    await using world = await World.open();
    expect(await world.ask(world.linkPath, { "sec-purpose": "prefetch;prerender" })).toMatchObject({ status: 403 });
    expect(await world.ask(world.linkPath, {}, "HEAD")).toMatchObject({ status: 403 });
    expect(await world.ask(world.linkPath)).toMatchObject({ status: 303 });
  });

  it.each(["evil.example", "evil.example:8475", "127.0.0.1.evil.example", "10.0.0.1", "a b"])(
    "the name %j in the request is refused, whatever else it has",
    async (host) => {
      await using world = await World.open();
      const { path, cookie } = await world.enter();
      const { status } = await world.ask(path, { cookie, host });
      expect([400, 403]).toContain(status);
      expect(await world.ask(world.linkPath, { host })).not.toMatchObject({ status: 303 });
    },
  );

  it.each(["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "LOCALHOST"])(
    "%s, as through ssh -L, is fine",
    async (host) => {
      await using world = await World.open();
      const { path, cookie } = await world.enter();
      expect(await world.ask(path, { cookie, host })).toMatchObject({ status: 200 });
    },
  );

  it("pages of other origins, also on another port of this host, get nothing", async () => {
    await using world = await World.open();
    const { path, cookie } = await world.enter();
    for (const headers of [
      { origin: "https://evil.example" },
      { origin: "http://127.0.0.1:1" },
      { origin: "null" },
      { "sec-fetch-site": "same-site" },
      { "sec-fetch-site": "cross-site" },
    ]) {
      expect(await world.ask(`${path}feed`, { cookie, ...headers })).toMatchObject({ status: 403 });
    }
  });

  it("nothing can be changed, and there is nothing else", async () => {
    await using world = await World.open();
    const { path, cookie } = await world.enter();
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      expect(await world.ask(path, { cookie }, method)).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } });
    }
    for (const other of ["/v2/status", "/etc/passwd", "//", "/v/../../x", `${path}x`]) {
      expect((await world.ask(other, { cookie })).status).toBe(404);
    }
    expect(await world.ask("/")).toMatchObject({ status: 401 });
  });

  it("every answer says that nothing may be loaded, framed, kept or told on", async () => {
    await using world = await World.open();
    const { path, cookie } = await world.enter();
    for (const [asked, headers] of [
      [path, { cookie }],
      ["/", {}],
      ["/nothing", {}],
    ] as const) {
      expect((await world.ask(asked, headers)).headers).toMatchObject({
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
      });
    }
  });
});

describe("what clients can cost", () => {
  it("a feed begins with everything, goes on with changes, and is counted while it is open", async () => {
    await using world = await World.open();
    const { path, cookie } = await world.enter();
    world.board.set("source", "", { readAt: "1" }, "agent");
    const feed = await world.begin(`${path}feed`, { cookie });
    let seen = "";
    feed.setEncoding("utf8").on("data", (piece: string) => {
      seen += piece;
    });
    await until(() => seen.includes('"1"'), { what: "the first message" });
    world.board.set("source", "", { readAt: "2" }, "agent");
    await until(() => seen.endsWith('{"items":[["source","","agent",{"readAt":"2"}]]}\n'), { what: "the change" });
    expect(world.watched).toEqual([1]);
    feed.destroy();
    await until(() => world.watched.at(-1) === 0, { what: "the end to be noticed" });
  });

  it("more than eight feeds are refused, and more than 48 connections do not keep a newcomer out", async () => {
    await using world = await World.open();
    const { path, cookie } = await world.enter();
    const feeds = [];
    for (let number = 0; number < 8; number++) feeds.push(await world.begin(`${path}feed`, { cookie }));
    expect(await world.ask(`${path}feed`, { cookie })).toMatchObject({ status: 503 });
    const idle = Array.from({ length: 100 }, () => connect(world.port, "127.0.0.1").on("error", () => undefined));
    expect(await world.ask(path, { cookie })).toMatchObject({ status: 200 });
    for (const socket of [...idle, ...feeds]) socket.destroy();
  });

  it("who does not read is sent less, and memory stays bounded: one answer waits, not each change", async () => {
    await using world = await World.open();
    const { path, cookie } = await world.enter();
    const feed = await world.begin(`${path}feed`, { cookie });
    feed.pause();
    const big = "x".repeat(1_500);
    const round = (number: number) => {
      const peers = Array.from({ length: 2_000 }, (_, index) => String(index));
      world.board.replace(
        "peer",
        "n",
        new Map(peers.map((key) => [key, { key, subnets: [big], state: "up", lossRatio: number } as const])),
      );
    };
    for (let number = 1; number <= 12; number++) {
      round(number / 100);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
    let seen = "";
    feed.setEncoding("utf8").on("data", (piece: string) => {
      seen += piece;
    });
    feed.resume();
    await until(() => seen.includes('"lossRatio":0.12') && seen.endsWith("\n"), { what: "the outcome" });
    // Twelve rounds of 3 MB each were on the board.
    expect(seen.length).toBeLessThan(20_000_000);
    feed.destroy();
  });
});

it("a port in use is wrong use, and says what to do", async () => {
  await using world = await World.open();
  const again = DashboardServer.open({
    plan: planListening({ listen: `127.0.0.1:${world.port}` }),
    page: { html: Buffer.from(""), contentSecurityPolicy: "" },
    board: world.board,
    onOpened: () => undefined,
    onWatched: () => undefined,
  });
  await expect(again).rejects.toMatchObject({ code: "USAGE", message: expect.stringContaining("--listen HOST:PORT") });
});
