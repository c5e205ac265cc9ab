import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { afterEach, expect, it, vi } from "vitest";
import { Journal } from "../../telemetry/journal.ts";
import type { Status } from "./control-protocol.ts";
import { type ControlHandlers, ControlServer } from "./control-server.ts";

const directory = mkdtempSync(join(tmpdir(), "control-"));
const path = join(directory, "flanneld.sock");
const unused = () => Promise.reject(new Error("not part of this test"));
const journal = new Journal();
const handlers: ControlHandlers = {
  ...{ status: unused, plan: unused, rules: unused, handover: unused, reload: unused, rotate: unused, metrics: unused },
  ...{ history: unused, peers: unused, why: unused, trace: unused, journal },
};

const answered = { state: "ready" } as unknown as Status;

afterEach(() => rmSync(path, { force: true }));

it("listens for the owner alone, in place of a socket left behind, and takes it away", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const dead = createServer().listen(path, resolve);
  await promise;
  {
    await using _server = await ControlServer.open(path, handlers);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  }
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  dead.close();
});

it("leaves what another put in the place of its socket when it ends", async () => {
  const server = await ControlServer.open(path, handlers);
  rmSync(path);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(path, resolve));
  const { ino } = statSync(path);
  await server[Symbol.asyncDispose]();
  expect(statSync(path, { throwIfNoEntry: false })?.ino).toBe(ino);
  await new Promise((resolve) => other.close(resolve));
});

it("does not replace a file that is not a socket", async () => {
  writeFileSync(path, "precious");
  await expect(ControlServer.open(path, handlers)).rejects.toMatchObject({ code: "FILE_FAILED" });
  expect(readFileSync(path, "utf8")).toBe("precious");
});

/** Status and body of the answer. */
function get(url: string): Promise<[number | undefined, unknown]> {
  const { promise, resolve, reject } = Promise.withResolvers<[number | undefined, unknown]>();
  request({ socketPath: path, path: url, agent: false }, (response) => {
    json(response).then((body) => resolve([response.statusCode, body]), reject);
  })
    .once("error", reject)
    .end();
  return promise;
}

it("tells a flannelctl of another version so in a sentence, which that one shows", async () => {
  await using _server = await ControlServer.open(path, handlers);
  expect(await get("/v1/status")).toEqual([
    404,
    {
      error: {
        code: "AGENT_INCOMPATIBLE",
        message:
          "this flanneld speaks version 2 of the control protocol, not 1: use the flannelctl of the same version",
      },
    },
  ]);
  expect(await get("/v2/unheard-of")).toMatchObject([404, { error: { code: "USAGE" } }]);
});

it("listens again when its socket was removed, and takes no other's place", async () => {
  await using server = await ControlServer.open(path, { ...handlers, status: () => Promise.resolve(answered) });
  expect(await server.renew()).toBe(false);
  rmSync(path);
  expect(await Promise.all([server.renew(), server.renew()])).toEqual([true, true]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await get("/v2/status")).toEqual([200, answered]);
  expect(await server.renew()).toBe(false);

  rmSync(path);
  writeFileSync(path, "precious");
  await expect(server.renew()).rejects.toMatchObject({ code: "FILE_FAILED" });
  expect(readFileSync(path, "utf8")).toBe("precious");
  rmSync(path);

  const other = createServer();
  await new Promise<void>((resolve) => other.listen(path, resolve));
  await expect(server.renew()).rejects.toMatchObject({ code: "AGENT_RUNNING" });
  await new Promise((resolve) => other.close(resolve));
  expect(await server.renew()).toBe(true);
  expect(await get("/v2/status")).toEqual([200, answered]);
});

it("streams the journal, and a client that does not read loses entries instead of filling the memory", async () => {
  await using _server = await ControlServer.open(path, handlers);
  const entry = (text: string) => ({ level: "info", event: "config.read", message: text, fields: {} }) as const;
  journal.record(entry("before"));
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const outgoing = request({ socketPath: path, path: "/v2/events?after=0", agent: false }, resolve);
  outgoing.once("error", reject).end();
  const response = await promise;
  // Nobody reads yet: far more than socket and memory take.
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
  for (let index = 0; index < 20_000; index++) {
    journal.record(entry("x".repeat(900)));
    if (index % 100 === 0) await new Promise(setImmediate);
  }
  expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(40e6);
  let text = "";
  response.setEncoding("utf8").on("data", (piece: string) => {
    text += piece;
  });
  const lines = () => text.split("\n").filter((line) => line !== "" && line.endsWith("}"));
  await vi.waitFor(() => {
    journal.record(entry("after"));
    expect(lines().at(-1)).toContain("after");
  }, 20_000);
  const entries = lines().map((line) => JSON.parse(line) as { message: string; leftOut?: number });
  expect(entries[0]?.message).toBe("before");
  expect(entries.length).toBeLessThan(5_000);
  expect(entries.reduce((sum, { leftOut = 0 }) => sum + leftOut, 0)).toBeGreaterThan(15_000);
  outgoing.destroy();
});

it("lets eight clients follow at a time, and more once one of them has gone", async () => {
  await using _server = await ControlServer.open(path, handlers);
  const follow = async () => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const outgoing = request({ socketPath: path, path: "/v2/events", agent: false }, resolve);
    outgoing.once("error", reject).end();
    const { statusCode } = await promise;
    return { statusCode, end: () => outgoing.destroy() };
  };
  const followers = await Promise.all(Array.from({ length: 9 }, follow));
  expect(followers.map(({ statusCode }) => statusCode).sort()).toEqual([...Array<number>(8).fill(200), 503]);
  followers.find(({ statusCode }) => statusCode === 200)?.end();
  await vi.waitFor(async () => {
    const next = await follow();
    followers.push(next);
    expect(next.statusCode).toBe(200);
  }, 10_000);
  for (const { end } of followers) end();
});
