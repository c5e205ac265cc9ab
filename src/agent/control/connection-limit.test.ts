// Servers of the agent beside clients that keep them waiting.
import { once } from "node:events";
import { createServer, get, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { limitConnections } from "./connection-limit.ts";

const most = 8;
let server: Server;
let port: number;
let finish: (() => void)[] = [];
const clients: Socket[] = [];

beforeEach(async () => {
  finish = [];
  server = createServer((request, response) => {
    if (request.url === "/slow") finish.push(() => response.end("late"));
    else response.end(request.url === "/large" ? "x".repeat(30 * 1024 * 1024) : "here");
  });
  limitConnections(server, most);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function send(text: string): Promise<Socket> {
  const client = connect(port, "127.0.0.1");
  clients.push(client);
  client.on("error", () => undefined);
  await once(client, "connect");
  client.write(text);
  return client;
}

function ask(path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  get({ port, path, agent: false }, (response) => {
    let body = "";
    response.setEncoding("utf8").on("data", (text: string) => {
      body += text;
    });
    response.once("end", () => resolve(body)).once("error", reject);
  }).once("error", reject);
  return promise;
}

it("answers beside any number of clients that send half a request, or none", async () => {
  for (let i = 0; i < 100; i++) {
    await send(i % 2 === 0 ? "GET / HTTP/1.1\r\nHost: x\r\n" : "");
    if (i % 10 === 0) expect(await ask("/")).toBe("here");
  }
  expect(await ask("/")).toBe("here");
});

it("closes who does not read an answer before it refuses anybody, and no answer that is being made", async () => {
  const late = ask("/slow");
  const greedy: Socket[] = [];
  for (let i = 1; i < most; i++) {
    const client = await send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    client.pause();
    greedy.push(client);
  }
  for (let i = 0; i < 20; i++) expect(await ask("/")).toBe("here");
  finish[0]?.();
  expect(await late).toBe("late");
});

it("holds no more than two large answers that nobody reads", async () => {
  for (let i = 1; i < most; i++) {
    const client = await send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    client.pause();
    expect(await ask("/")).toBe("here");
  }
  const open = await new Promise<number>((resolve, reject) =>
    server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
  );
  expect(open).toBeLessThan(5);
});
