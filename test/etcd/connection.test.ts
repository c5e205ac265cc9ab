// Reaching etcd: encryption in every combination, Unix sockets, users and tokens, members that die.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DEADLINE_MS, until } from "../../lab/wait.ts";
import { EtcdServer } from "./etcd-server.ts";
import {
  Follower,
  foreignLease,
  never,
  openAdministration,
  openStore,
  putForeignLeases,
  RawClient,
  requestOf,
} from "./fixture.ts";
import { Pki } from "./pki.ts";
import { TcpProxy } from "./tcp-proxy.ts";

describe("TLS", () => {
  let pki: Pki;
  let other: Pki;
  let server: EtcdServer;
  let strict: EtcdServer;

  beforeAll(async () => {
    [pki, other] = await Promise.all([Pki.create(), Pki.create()]);
    server = await EtcdServer.start({ pki });
    strict = await EtcdServer.start({ pki, clientCertAuth: true });
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await strict[Symbol.asyncDispose]();
    await pki[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  });

  test("CA alone, by address and by name", async () => {
    for (const endpoints of [server.endpoints, server.endpoints.replace("127.0.0.1", "localhost")]) {
      await using store = await openStore(endpoints, { tls: { caFile: pki.ca } });
      expect(await store.list(never)).toEqual([]);
    }
  });

  test.each([
    [
      "no certificate where one is wanted",
      () => ({ to: strict, files: {} }),
      /give --etcd-certfile and --etcd-keyfile/,
    ],
    [
      "a certificate of another CA",
      () => ({ to: strict, files: { certFile: other.clientCert, keyFile: other.clientKey } }),
      /the store refuses this host's certificate .*client\.pem/,
    ],
    ["plain http:// to a server with TLS", () => ({ to: server, files: undefined }), /write https:/],
  ])("the failure tells what to do: %s", async (_what, chosen, message) => {
    const { to, files } = chosen();
    const url = files === undefined ? to.endpoints.replace("https", "http") : to.endpoints;
    await using store = await openStore(url, { tls: files === undefined ? {} : { caFile: pki.ca, ...files } });
    await expect(store.list(never)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", message });
  });

  test("https:// to a server without TLS is told as that, and so is a key with a passphrase", async () => {
    await using plain = await EtcdServer.start();
    await using store = await openStore(plain.endpoints.replace("http", "https"), { tls: { caFile: pki.ca } });
    await expect(store.list(never)).rejects.toMatchObject({ message: /write http:/ });
    await pki.protectKey("client", "locked.key");
    const tls = { caFile: pki.ca, certFile: pki.clientCert, keyFile: pki.file("locked.key") };
    await expect(openStore(server.endpoints, { tls })).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: /--etcd-keyfile .*locked\.key is protected by a passphrase/,
    });
  });

  test("no scheme means TLS when files are given", async () => {
    await using store = await openStore(server.endpoints.replace("https://", ""), { tls: { caFile: pki.ca } });
    expect(await store.list(never)).toEqual([]);
  });

  test("CA with certificate and key where the server demands one; without it the server refuses", async () => {
    const tls = { caFile: pki.ca, certFile: pki.clientCert, keyFile: pki.clientKey };
    await using store = await openStore(strict.endpoints, { tls });
    expect(await store.list(never)).toEqual([]);
    await using bare = await openStore(strict.endpoints, { tls: { caFile: pki.ca } });
    await expect(bare.list(never)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  test("tells when the certificates in use end, the server's once it was reached", async () => {
    const tls = { caFile: pki.ca, certFile: pki.clientCert, keyFile: pki.clientKey };
    await using store = await openStore(strict.endpoints, { tls });
    const roles = () => store.certificates.inUse().map(({ role, source }) => [role, source]);
    const ours = [
      ["authority", pki.ca],
      ["client", pki.clientCert],
    ];
    expect(roles()).toEqual(ours);
    await store.list(never);
    expect(roles()).toEqual([...ours, ["server", strict.endpoints]]);
    for (const { endsAtMs } of store.certificates.inUse()) {
      expect(Math.abs(endsAtMs - Date.now() - 2 * 86_400_000)).toBeLessThan(600_000);
    }
  });

  test("a server of another CA, and one whose certificate is for another name, are not trusted", async () => {
    await using foreign = await openStore(server.endpoints, { tls: { caFile: other.ca } });
    await expect(foreign.list(never)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: /certificate|signature/,
    });
    await using renamed = await openStore(server.endpoints.replace("127.0.0.1", "127.0.0.2"), {
      tls: { caFile: pki.ca },
    });
    await expect(renamed.list(never)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });

  test("https without files trusts the system's roots and nobody else", async () => {
    await using store = await openStore(server.endpoints);
    await expect(store.list(never)).rejects.toMatchObject({ message: /certificate/ });
    const program = `
      import { EtcdSubnetStore } from "./src/store/etcd/etcd-subnet-store.ts";
      await using store = await EtcdSubnetStore.open({ endpoints: process.argv[1], prefix: "/coreos.com/network" });
      console.log((await store.list(AbortSignal.timeout(60_000))).length);
    `;
    const commandLine = ["--input-type=module-typescript", "--eval", program, server.endpoints];
    const child = spawn(process.execPath, commandLine, {
      env: { ...process.env, SSL_CERT_FILE: pki.ca, NODE_OPTIONS: "" },
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
    await once(child, "close");
    expect(output.trim()).toBe("0");
  });

  test.each([
    ["certificate without key", "https://127.0.0.1:1", { certFile: "c" }, /certfile is given without --etcd-keyfile/],
    ["key without certificate", "https://127.0.0.1:1", { keyFile: "k" }, /keyfile is given without --etcd-certfile/],
    [
      "a file that is not there",
      "https://127.0.0.1:1",
      { caFile: "/nowhere/ca.pem" },
      /cannot read --etcd-cafile \/nowhere\/ca.pem/,
    ],
    ["mixed schemes", "https://127.0.0.1:1,http://127.0.0.1:2", {}, /mix https:\/\/ and http:\/\//],
  ])("%s is a config error", async (_what, endpoints, tls, message) => {
    await expect(openStore(endpoints, { tls })).rejects.toMatchObject({ code: "CONFIG_INVALID", message });
  });

  test("files that hold no certificate, or a key of another certificate, are config errors", async () => {
    await writeFile(pki.file("garbage.pem"), "-----BEGIN NONSENSE-----\n");
    const garbage = openStore(server.endpoints, { tls: { caFile: pki.file("garbage.pem") } });
    await expect(garbage).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: /has no certificate in PEM format/,
    });
    const tls = { caFile: pki.ca, certFile: pki.clientCert, keyFile: pki.serverKey };
    await expect(openStore(server.endpoints, { tls })).rejects.toMatchObject({
      message: /cannot use --etcd-certfile with --etcd-keyfile/,
    });
  });

  test("reloaded certificates are used at once and the watch goes on", async () => {
    await pki.issue("rolling", "subjectAltName=DNS:client");
    const tls = { caFile: pki.ca, certFile: pki.file("rolling.pem"), keyFile: pki.file("rolling.key") };
    await using store = await openStore(strict.endpoints, { tls });
    await using follower = new Follower(store);
    await follower.until("contact", () => follower.changes.some(({ type }) => type === "contact"));
    await writeFile(pki.file("rolling.pem"), "garbage");
    await expect(store.certificates.reload()).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    expect(await store.list(never)).toEqual([]);
    await pki.issue("rolling", "subjectAltName=DNS:client");
    await store.certificates.reload();
    const { key, value, name } = foreignLease(1);
    await strict.control("put", key, value);
    await follower.until("the lease", () => follower.leases.has(name));
    expect(follower.snapshots).toBe(1);
    await strict.control("del", key);
  });
});

describe("Unix sockets", () => {
  test("unix:// and unixs://", async () => {
    await using plain = await EtcdServer.start({ hasSocket: true });
    await using store = await openStore(`unix://${plain.member.socketPath}`);
    expect((await store.acquire(requestOf("192.0.2.1"), never)).outcome).toBe("allocated");
    await using pki = await Pki.create();
    await using secure = await EtcdServer.start({ hasSocket: true, pki });
    await using secureStore = await openStore(`unixs://${secure.member.socketPath}`, { tls: { caFile: pki.ca } });
    expect((await secureStore.acquire(requestOf("192.0.2.1"), never)).outcome).toBe("allocated");
  });
});

describe("authentication", () => {
  let server: EtcdServer;
  const user = { username: "flannel", password: "secret" };

  beforeAll(async () => {
    // Unused tokens expire after 1 to 2 s; the log says when.
    server = await EtcdServer.start({ tokenTtlSeconds: 1, extraArguments: ["--log-level", "debug"] });
    await using raw = await RawClient.open(server.endpoints);
    await putForeignLeases(raw, 3);
    await server.enableAuthentication();
  });

  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test("expired tokens are replaced, one login at a time", async () => {
    await using store = await openStore(server.endpoints, user);
    const before = await server.member.callCount("Authenticate");
    for (let round = 0; round < 2; round++) {
      const lists = await Promise.all(Array.from({ length: 20 }, () => store.list(never)));
      expect(lists.map((leases) => leases.length)).toEqual(new Array(20).fill(3));
      expect((await server.member.callCount("Authenticate")) - before).toBe(round + 1);
      await server.member.untilTokensExpired();
    }
    const { lease } = await store.acquire(requestOf("192.0.2.1"), never);
    await server.member.untilTokensExpired();
    await store.renew(lease, lease.attributes, never);
    await using administration = await openAdministration(server.endpoints, user);
    await administration.release(lease.key, { force: true }, never);
  });

  test("a watch survives that its token has expired when it must reconnect", async () => {
    const proxy = await TcpProxy.start(server.endpoints);
    await using store = await openStore(proxy.endpoint, user);
    await using follower = new Follower(store);
    await follower.until("contact", () => follower.changes.some(({ type }) => type === "contact"));
    await server.member.untilTokensExpired();
    proxy.cut();
    const { key, value, name } = foreignLease(9);
    await server.control("--user=flannel:secret", "put", key, value);
    await follower.until("the lease", () => follower.leases.has(name));
    await server.control("--user=flannel:secret", "del", key);
    await follower.until("its end", () => !follower.leases.has(name));
    expect(follower.snapshots).toBe(1);
    await follower[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  });

  test("a token that a restarted server does not know is replaced", async () => {
    await using store = await openStore(server.endpoints, user);
    await using follower = new Follower(store);
    await follower.until("contact", () => follower.changes.some(({ type }) => type === "contact"));
    await server.member.restart();
    // Whoever was refused while the member was down waits a moment before it connects again.
    const leases = await until(() => store.list(never), { what: "the restarted member to be read" });
    expect(leases).toHaveLength(3);
    const { key, value, name } = foreignLease(9);
    await server.control("--user=flannel:secret", "put", key, value);
    await follower.until("the lease", () => follower.leases.has(name));
    await server.control("--user=flannel:secret", "del", key);
  });

  test("a wrong password is refused for good, and never shown", async () => {
    await using store = await openStore(server.endpoints, { username: "flannel", password: "hunter2" });
    const error: unknown = await store.list(never).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "STORE_UNAUTHORIZED", retryable: false });
    expect(JSON.stringify([error, String(error)])).not.toContain("hunter2");
  });

  test("a password in a file is read again at each login", async () => {
    const directory = await mkdtemp(join(tmpdir(), "flannel-password-"));
    const passwordFile = join(directory, "password");
    const open = () => openStore(server.endpoints, { username: "flannel", passwordFile });
    await expect(open()).rejects.toMatchObject({ code: "CONFIG_INVALID", message: /--etcd-password-file .*ENOENT/ });
    await writeFile(passwordFile, "\n");
    await expect(open()).rejects.toMatchObject({ code: "CONFIG_INVALID", message: /must hold one line/ });
    await writeFile(passwordFile, "not yet\n");
    await using store = await open();
    await expect(store.list(never)).rejects.toMatchObject({ code: "STORE_UNAUTHORIZED" });
    await writeFile(passwordFile, "secret\n");
    expect(await store.list(never)).toHaveLength(3);
    await rm(directory, { recursive: true });
  });

  test("no user where one is needed, and a user without rights, are refused", async () => {
    await using nobody = await openStore(server.endpoints);
    await expect(nobody.list(never)).rejects.toMatchObject({ code: "STORE_UNAUTHORIZED" });
    await using elsewhere = await openStore(server.endpoints, { ...user, prefix: "/other" });
    await expect(elsewhere.list(never)).rejects.toMatchObject({ code: "STORE_UNAUTHORIZED" });
  });

  test("a user where authentication is off works, and goes on working when it is turned on", async () => {
    await using open = await EtcdServer.start();
    await using store = await openStore(open.endpoints, user);
    expect(await store.list(never)).toEqual([]);
    await open.enableAuthentication();
    expect(await store.list(never)).toEqual([]);
  });
});

describe("several members", () => {
  test("one of three is killed, whichever we talk to: calls and watch go on", async () => {
    await using cluster = await EtcdServer.start({ members: 3 });
    await using store = await openStore(cluster.endpoints);
    await using follower = new Follower(store);
    await follower.until("contact", () => follower.changes.some(({ type }) => type === "contact"));
    for (const [index, member] of cluster.members.entries()) {
      await member.kill();
      const { lease } = await retried(() => store.acquire(requestOf(`192.0.2.${index + 1}`), never));
      await follower.until("the lease by another member", () => follower.leases.has(lease.key));
      expect((await retried(() => store.renew(lease, lease.attributes, never))).key).toBe(lease.key);
      member.start();
      await member.healthy();
    }
    expect(follower.snapshots).toBe(1);
    expect(follower.leases.size).toBe(3);
  });

  test("dead endpoints in the list cost no more than one try", async () => {
    await using server = await EtcdServer.start();
    await using store = await openStore(`http://127.0.0.1:1,http://127.0.0.1:2,${server.endpoints}`);
    expect(await store.list(never)).toEqual([]);
  });

  test("a black-holed endpoint is left after one deadline", async () => {
    await using server = await EtcdServer.start();
    await using proxy = await TcpProxy.start(server.endpoints);
    proxy.blackHole();
    const endpoints = `${proxy.endpoint},${server.endpoints}`;
    await using store = await openStore(endpoints, { timings: { callTimeoutMs: 500 } });
    const sinceMs = performance.now();
    expect(await store.list(never)).toEqual([]);
    expect(performance.now() - sinceMs).toBeLessThan(5_000);
  });

  test("a connection at rest stays, since etcd ends those with pings and no calls", async () => {
    await using server = await EtcdServer.start();
    await using proxy = await TcpProxy.start(server.endpoints);
    await using store = await openStore(proxy.endpoint, { timings: { keepaliveTimeMs: 100 } });
    expect(await store.list(never)).toEqual([]);
    // By then it would have ended ours too: as many pings would have been sent.
    await untilEndedForPings(server.endpoints, 100);
    expect(await store.list(never)).toEqual([]);
    expect(proxy.connections).toBe(1);
  });

  test("a connection that died at rest is given up with the first call", async () => {
    await using server = await EtcdServer.start();
    await using proxy = await TcpProxy.start(server.endpoints);
    const timings = { callTimeoutMs: 500, keepaliveTimeMs: 100, keepaliveTimeoutMs: 300 };
    await using store = await openStore(proxy.endpoint, { timings });
    expect(await store.list(never)).toEqual([]);
    proxy.blackHole();
    await expect(store.list(never)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true });
    proxy.heal();
    expect(await retried(() => store.list(never))).toEqual([]);
  });

  test("connections that are dead after a change of our address are left at once when told so", async () => {
    await using server = await EtcdServer.start();
    await using proxy = await TcpProxy.start(server.endpoints);
    // Pings would find out too, but later.
    await using store = await openStore(proxy.endpoint, { timings: { keepaliveTimeMs: 600_000 } });
    await using follower = new Follower(store);
    await follower.until("contact", () => follower.changes.some(({ type }) => type === "contact"));
    proxy.blackHole();
    const { key, value, name } = foreignLease(1);
    await server.control("put", key, value);
    await expect(store.list(AbortSignal.timeout(200))).rejects.toMatchObject({ code: "CANCELLED" });
    proxy.heal();
    store.reconnect();
    expect(await store.list(never)).toHaveLength(1);
    await follower.until("the lease", () => follower.leases.has(name));
    expect(follower.snapshots).toBe(1);
  });
});

/** A connection that pings without a call until the server ends it. */
async function untilEndedForPings(endpoint: string, everyMs: number): Promise<void> {
  const session = connect(endpoint).on("error", () => undefined);
  const timer = setInterval(() => session.ping(() => undefined), everyMs);
  try {
    await once(session, "goaway", { signal: AbortSignal.timeout(DEADLINE_MS) });
  } finally {
    clearInterval(timer);
    session.destroy();
  }
}

/** As the agent does: what may be retried is retried. Electing a leader takes a second. */
async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let left = 50; ; left--) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0) throw error;
      await delay(200);
    }
  }
}
