// The store on a Unix socket: for its owner alone, there again after kill -9 and after somebody removed it.
import { execFile } from "node:child_process";
import { chmodSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../../lab/wait.ts";
import { EmbeddedServer } from "./embedded-server.ts";

const run = promisify(execFile);

let directory: string;
let server: EmbeddedServer;
let socket: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "flannel-socket-"));
  chmodSync(directory, 0o755);
  socket = join(directory, "store.sock");
  server = await EmbeddedServer.start({ inMemory: true, extraArguments: ["--listen", `unix://${socket}`] });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/**
 * etcdctl on the socket, in front of it the words of `as`. From its directory: etcdctl 3.4 sends the path as the name of the
 * server, in which HTTP/2 allows no slash.
 */
async function etcdctl(words: readonly string[], as: readonly string[] = []): Promise<string> {
  const [program = "", ...rest] = [...as, "etcdctl", "--command-timeout=3s", "--endpoints=unix://store.sock", ...words];
  return (await run(program, rest, { cwd: directory, env: { ...process.env, ETCDCTL_API: "3" } })).stdout;
}

it("serves root there, and no other user", async () => {
  expect(server.member.log()).toContain(`unix://${socket}`);
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  await etcdctl(["put", "a", "1"]);
  expect(await etcdctl(["get", "a"])).toBe("a\n1\n");
  expect(await server.control("get", "a")).toBe("a\n1\n");
  await expect(etcdctl(["get", "a"], user)).rejects.toThrow(/deadline exceeded|permission denied/);
});

it("puts the socket back when it was removed, and takes the one of a killed process", async () => {
  const inode = statSync(socket).ino;
  rmSync(socket);
  await until(() => statSync(socket, { throwIfNoEntry: false }) !== undefined, { what: "the socket to be back" });
  expect(await etcdctl(["get", "a"])).toBe("a\n1\n");
  await server.member.kill();
  expect(statSync(socket).isSocket()).toBe(true);
  await server.member.restart();
  expect(await etcdctl(["get", "a"])).toBe("a\n1\n");
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  expect(inode).toBeGreaterThan(0);
  expect(await server.member.stop()).toBe(0);
  expect(statSync(socket, { throwIfNoEntry: false })).toBeUndefined();
});

it("leaves another file alone, and says so", async () => {
  writeFileSync(socket, "precious");
  server.member.start();
  await expect(server.member.healthy()).rejects.toThrow(`${socket} exists and is not a socket`);
  rmSync(socket);
  await server.member.restart();
});
