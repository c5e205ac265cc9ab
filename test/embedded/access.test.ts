// Who gets in: TLS, client certificates, users; and what a second process, a taken port or a wrong file is told.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { PutRequest } from "../../src/etcd-api/etcd.ts";
import { EtcdSubnetStore } from "../../src/store/etcd/etcd-subnet-store.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { never, prefix } from "../etcd/fixture.ts";
import { Pki } from "../etcd/pki.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { StoreClient } from "./store-client.ts";

const run = promisify(execFile);
const program = join(import.meta.dirname, "../../bin/flannel-store");

let directory: string;
let pki: Pki;
let usersFile: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "flannel-access-"));
  pki = await Pki.create();
  usersFile = join(directory, "users");
  await writeFile(usersFile, "# who\nflannel:se:cret\n", { mode: 0o600 });
});

afterAll(async () => {
  await pki[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** What the program says on stderr when it ends by itself, and its exit code. */
async function refused(...commandLine: readonly string[]): Promise<{ code: unknown; text: string }> {
  try {
    const { stdout } = await run(program, [...commandLine], { timeout: DEADLINE_MS });
    return { code: 0, text: stdout };
  } catch (error) {
    const { code, stderr } = error as { code: unknown; stderr: string };
    return { code, text: stderr };
  }
}

test("users log in with name and password; nobody else gets anything", async () => {
  await using server = await EmbeddedServer.start({ extraArguments: ["--users-file", usersFile] });
  expect(await server.control("--user", "flannel:se:cret", "put", "key", "value")).toBe("OK\n");
  await expect(server.control("put", "key", "value")).rejects.toThrow("user name is empty");
  await expect(server.control("--user", "flannel:wrong", "get", "key")).rejects.toThrow(
    "authentication failed, invalid user ID or password",
  );
  await expect(server.control("--user", "other:se:cret", "get", "key")).rejects.toThrow("authentication failed");
});

test("our own client logs in again when the store was restarted and knows its token no more", async () => {
  await using server = await EmbeddedServer.start({ extraArguments: ["--users-file", usersFile] });
  const config = JSON.stringify({ Network: "10.5.0.0/16" });
  await server.control("--user", "flannel:se:cret", "put", `${prefix}/config`, config);
  const { endpoints } = server;
  await using store = await EtcdSubnetStore.open({ endpoints, prefix, username: "flannel", password: "se:cret" });
  expect((await store.networkConfig(never)).text).toBe(config);
  await server.member.restart();
  expect((await store.networkConfig(never)).text).toBe(config);
});

test("TLS, with and without client certificates", async () => {
  await using open = await EmbeddedServer.start({ pki });
  expect(await open.control("put", "key", "value")).toBe("OK\n");
  await using closed = await EmbeddedServer.start({ pki, extraArguments: ["--tls-client-ca", pki.ca] });
  expect(await closed.control("put", "key", "value")).toBe("OK\n");
  const bare = ["--endpoints", closed.endpoints, "--cacert", pki.ca, "--command-timeout=3s", "get", "key"];
  await expect(run("etcdctl", bare, { env: { ...process.env, ETCDCTL_API: "3" } })).rejects.toThrow(
    "this store requires a client certificate signed by its client CA",
  );
  await using stranger = await Pki.create();
  const wrong = [...bare, "--cert", stranger.clientCert, "--key", stranger.clientKey];
  await expect(run("etcdctl", wrong, { env: { ...process.env, ETCDCTL_API: "3" } })).rejects.toThrow("certificate");
});

test("who connects and says nothing, or does not read, keeps nobody from stopping it", async () => {
  for (const clientCa of [[], ["--tls-client-ca", pki.ca]]) {
    await using server = await EmbeddedServer.start({ pki, extraArguments: clientCa });
    const [, host = "", port = ""] = /\/\/(.*):(\d+)$/.exec(server.endpoints) ?? [];
    const idle = connectTcp(Number(port), host).on("error", () => undefined);
    await once(idle, "connect");
    const deaf = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    deaf.on("error", () => undefined);
    await once(deaf, "secureConnect");
    // Those above were accepted before.
    await server.control("put", "key", "value");
    const startedMs = performance.now();
    expect(await server.member.stop()).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(40_000);
    idle.destroy();
    deaf.destroy();
  }
});

test("SIGHUP: new connections see the new certificate; an unusable one changes nothing", async () => {
  await using authority = await Pki.create();
  await using server = await EmbeddedServer.start({ pki: authority });
  const [, host = "", port = ""] = /\/\/(.*):(\d+)$/.exec(server.endpoints) ?? [];
  const shown = () =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ["h2"] }, () => {
        resolve(socket.getPeerX509Certificate()?.serialNumber ?? "");
        socket.destroy();
      }).once("error", reject);
    });
  const first = await shown();
  await authority.issue("server", "subjectAltName=IP:127.0.0.1,DNS:localhost");
  server.member.signal("SIGHUP");
  let second = await shown();
  for (let tries = 0; tries < 200 && second === first; tries++) second = await shown();
  expect(second).not.toBe(first);
  await writeFile(authority.serverCert, "no certificate");
  server.member.signal("SIGHUP");
  while (!server.member.log().includes("cannot reload the certificates")) await shown();
  expect(await shown()).toBe(second);
});

test("files and directory are for the owner alone", async () => {
  await using server = await EmbeddedServer.start();
  await server.control("put", "key", "value");
  expect((await stat(server.dataDirectory)).mode & 0o777).toBe(0o700);
  for (const name of await readdir(server.dataDirectory)) {
    expect((await stat(join(server.dataDirectory, name))).mode & 0o777, name).toBe(0o600);
  }
});

test("a second process on the same directory, a taken port: exit code 1 and a sentence", async () => {
  await using server = await EmbeddedServer.start();
  const second = await refused("--data-dir", server.dataDirectory, "--listen", "127.0.0.1:0");
  expect(second).toEqual({
    code: 1,
    text: `flannel-store: ${server.dataDirectory} is in use by another flannel-store (pid ${server.member.pid})\n`,
  });
  const address = server.endpoints.replace("http://", "");
  const taken = await refused("--data-dir", join(directory, "other"), "--listen", address);
  expect(taken).toEqual({
    code: 1,
    text: `flannel-store: ${address} is in use by another program: choose another address with --listen\n`,
  });
});

test("other hosts are served only with TLS and a check of who calls, or on demand", async () => {
  const data = ["--data-dir", join(directory, "exposed")];
  const plain = await refused(...data, "--listen", "0.0.0.0:0");
  expect(plain.code).toBe(2);
  expect(plain.text).toContain("there is no TLS (--tls-cert, --tls-key) and no client authentication (");
  expect(plain.text).toContain("whoever reaches it can redirect the traffic of all containers");
  const tls = ["--tls-cert", pki.serverCert, "--tls-key", pki.serverKey];
  expect((await refused(...data, "--listen", "[::]:0", ...tls)).text).toContain("--tls-client-ca or --users-file");
  await using server = await EmbeddedServer.start({ extraArguments: ["--listen", "0.0.0.0:0", "--insecure"] });
  expect(server.member.log()).toMatch(/serving .* on http:\/\/127\.0\.0\.1:\d+, http:\/\/0\.0\.0\.0:\d+/);
});

test("wrong files and flags: exit code 2 and a sentence without secrets", async () => {
  const readable = join(directory, "readable");
  await writeFile(readable, "flannel:secret\n");
  await chmod(readable, 0o644);
  const data = ["--data-dir", join(directory, "wrong")];
  expect(await refused(...data, "--users-file", readable)).toEqual({
    code: 2,
    text: `flannel-store: --users-file ${readable} can be read by other users: run chmod 600 ${readable}\n`,
  });
  await writeFile(readable, "secret\n");
  await chmod(readable, 0o600);
  const malformed = await refused(...data, "--users-file", readable);
  expect(malformed.text).toContain("line 1 is not name:password");
  expect(malformed.text).not.toContain("secret\n");
  expect((await refused("--listen", "nowhere")).text).toContain("must be HOST:PORT");
  expect((await refused("--tls-cert", pki.serverCert)).text).toContain("belong together");
  expect((await refused("left", "over")).code).toBe(2);
  const mixed = await refused("--cluster", "--tls-cert", pki.serverCert, "--tls-key", pki.serverKey);
  expect(mixed).toEqual({ code: 2, text: expect.stringContaining("--cluster brings its own certificates") });
  const none = await refused(...data, "--cluster");
  expect(none).toEqual({
    code: 2,
    text: expect.stringContaining("wrong/cluster does not exist: run flannelctl init"),
  });
  await mkdir(join(directory, "wrong/cluster"));
  const empty = await refused(...data, "--cluster");
  expect(empty).toEqual({ code: 1, text: expect.stringContaining("there is no ") });
});

test("a request over etcd's limit is refused with etcd's words, one far over it by the framing", async () => {
  await using server = await EmbeddedServer.start();
  using client = new StoreClient(server.endpoints);
  const put = (bytes: number) =>
    client.ask(methods.put, PutRequest.fromPartial({ key: Buffer.from("k"), value: Buffer.alloc(bytes) }));
  expect(await put(1_500 * 1024)).toHaveProperty("ok");
  expect(await put(1_600 * 1024)).toEqual({ error: "3 etcdserver: request is too large" });
  expect(await put(3 * 1024 * 1024)).toMatchObject({
    error: expect.stringContaining("received message larger than max"),
  });
});
