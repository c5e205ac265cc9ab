// Who is let in to a cluster's store and to what, what a removed host can still do, and what strangers cannot. Against the
// real store.
import { execFile } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2, createSecureServer } from "node:http2";
import { type AddressInfo, connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { hasCode } from "../../src/errors.ts";
import { PutRequest, RangeRequest } from "../../src/etcd-api/etcd.ts";
import { frame } from "../../src/flannel-store/grpc/grpc-frames.ts";
import { ClusterAuthority } from "../../src/flannel-store/membership/cluster-authority.ts";
import { ClusterClient } from "../../src/flannel-store/membership/cluster-client.ts";
import { clusterFiles } from "../../src/flannel-store/membership/cluster-files.ts";
import { makePrivateKey } from "../../src/flannel-store/membership/keys.ts";
import { EtcdConnection } from "../../src/store/etcd/etcd-connection.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { unknownPast } from "../../src/store/etcd/store-past.ts";
import { watchKeys } from "../../src/store/etcd/watch-keys.ts";
import { never } from "../etcd/fixture.ts";
import { ClusterWorld, type TestHost } from "./cluster-world.ts";

const run = promisify(execFile);

/** A connection as the host's agent holds it. */
async function connectionOf({ endpoints, files }: TestHost): Promise<ClientHttp2Session> {
  const { caFile, certFile, keyFile } = files;
  const [ca, cert, key] = [caFile, certFile, keyFile].map((file) => readFileSync(file));
  const session = connectHttp2(endpoints, { ca, cert, key }).on("error", () => undefined);
  await once(session, "connect");
  return session;
}

test("a removed host is cut off at once and does not come back; the others stay", async () => {
  await using world = await ClusterWorld.start();
  const token = await world.token();
  const host = await world.join(world.newHost("h1"), token);
  const other = await world.joined("h2");
  const [session, otherSession] = [await connectionOf(host), await connectionOf(other)];
  const stop = new AbortController();
  await using watching = await EtcdConnection.open({ endpoints: host.endpoints, tls: host.files });
  const range = { start: Buffer.from("a"), end: Buffer.from("z") };
  const changes = watchKeys(watching, { range, startRevision: 1n, past: unknownPast() }, stop.signal);
  const keysSeen: string[] = [];
  const watched = (async () => {
    for await (const item of changes) {
      if (item.type === "events") keysSeen.push(...item.events.map(({ kv }) => Buffer.from(kv?.key ?? []).toString()));
    }
  })();
  await world.control("put", "key", "value");
  await until(() => keysSeen.includes("key"), { what: "the host to see a change" });

  await world.administrator.removeHost("h1", never);
  await until(() => session.closed, { what: "the removed host's connection to end" });
  expect(otherSession.closed).toBe(false);
  await expect(host.control("get", "key")).rejects.toThrow(
    "this certificate does not belong to a present member of the cluster",
  );
  await expect(host.client.renew(never)).rejects.toThrow("run flannelctl join with a new token");
  await expect(host.client.leave(never)).rejects.toThrow("does not belong to a present member");
  // Neither with the token it joined with.
  await expect(world.join(host, token)).rejects.toThrow("this store does not know the token");
  await world.control("put", "later", "value");
  // The watch is opened again and again, in vain.
  stop.abort();
  await watched.catch((error: unknown) => error);
  expect(keysSeen).toEqual(["key"]);
  expect((await world.administrator.listHosts(never)).map(({ name }) => name)).toEqual(["h2"]);
  const again = await world.administrator.removeHost("h1", never).catch((error: unknown) => error);
  expect(hasCode(again, "CLUSTER_NOT_FOUND")).toBe(true);
  otherSession.destroy();
});

test("what a host had begun before it was removed comes to nothing", async () => {
  await using world = await ClusterWorld.start();
  const [host, other] = [await world.joined("h1"), await world.joined("h2")];
  const session = await connectionOf(host);
  // The call is let in; its message comes when the host is none any more.
  const headers = { ":method": "POST", ":path": "/etcdserverpb.KV/Put", "content-type": "application/grpc" };
  const stream = session.request(headers).on("error", () => undefined);
  const message = frame(PutRequest.encode(PutRequest.fromPartial({ key: Buffer.from("late") })).finish());
  stream.write(message.subarray(0, 5));
  await world.administrator.removeHost("h1", never);
  stream.end(message.subarray(5));
  await until(() => session.closed, { what: "its connection to end" });
  expect(await other.control("get", "late")).toBe("");
});

test("of the leases a host writes while it is removed none is left", async () => {
  await using world = await ClusterWorld.start();
  const key = Buffer.from("/coreos.com/network/subnets/10.5.7.0-24");
  const value = Buffer.from('{"PublicIP":"127.0.0.1"}');
  for (let round = 0; round < 5; round++) {
    const host = await world.joined(`h${round}`);
    let written = 0;
    const writers = Array.from({ length: 4 }, async () => {
      await using connection = await EtcdConnection.open({ endpoints: host.endpoints, tls: host.files });
      const { id: lease } = await connection.call(methods.leaseGrant, { id: 0n, ttl: 600n }, "grant", never);
      for (;;) {
        await connection.call(methods.put, PutRequest.fromPartial({ key, value, lease }), "write", never);
        written++;
      }
    });
    const ended = Promise.allSettled(writers);
    await until(() => written > 20, { what: "the host to write" });
    expect(await world.administrator.removeHost(host.name, never)).toMatchObject({ leases: ["10.5.7.0-24"] });
    for (const outcome of await ended) expect(outcome.status).toBe("rejected");
    const witness = await world.joined("witness");
    expect(await witness.control("get", key.toString())).toBe("");
    await world.administrator.removeHost("witness", never);
  }
});

test("it stays out when the store is killed and started again, and the others in", async () => {
  await using world = await ClusterWorld.start();
  const [host, other] = [await world.joined("h1"), await world.joined("h2")];
  const token = await world.token();
  await world.administrator.removeHost("h1", never);
  await world.server.member.restart();
  await expect(host.control("get", "key")).rejects.toThrow("does not belong to a present member of the cluster");
  expect(await other.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  await world.join(world.newHost("h3"), token);
});

test("with a new token a removed host is a member again, its old certificates stay void", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const old = readFileSync(host.files.certFile);
  await world.administrator.removeHost("h1", never);
  await world.join(host, await world.token());
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  writeFileSync(host.files.certFile, old);
  await expect(host.control("lease", "grant", "60")).rejects.toThrow(
    "does not belong to a present member of the cluster",
  );
});

test("a renewed certificate has the same key; it and the one before are void when the host is removed", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const before = readFileSync(host.files.certFile, "utf8");
  const { certificatePem } = await host.client.renew(never);
  expect(certificatePem).not.toBe(before);
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  writeFileSync(host.files.certFile, certificatePem);
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  await world.administrator.removeHost("h1", never);
  for (const certificate of [before, certificatePem]) {
    writeFileSync(host.files.certFile, certificate);
    await expect(host.control("lease", "grant", "60")).rejects.toThrow(
      "does not belong to a present member of the cluster",
    );
  }
});

test("a host that cannot write its new certificates goes on with the one it has", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  for (let tries = 0; tries < 10; tries++) await host.client.renew(never);
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
});

test("a host that leaves is answered, then as if removed", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const session = await connectionOf(host);
  expect(await host.client.leave(never)).toMatchObject({ leases: [] });
  await until(() => session.closed, { what: "its other connection to end" });
  await expect(host.control("get", "key")).rejects.toThrow("does not belong to a present member of the cluster");
  expect(await world.administrator.listHosts(never)).toEqual([]);
});

test("a host manages itself and nobody else; the administrator is no host", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const calls = [
    () => host.client.createToken(600, never),
    () => host.client.listTokens(never),
    () => host.client.revokeToken("abcd2345", never),
    () => host.client.listHosts(never),
    () => host.client.removeHost("h1", never),
  ];
  for (const call of calls) {
    const error = await call().catch((refused: unknown) => refused);
    expect(hasCode(error, "STORE_UNAUTHORIZED"), String(error)).toBe(true);
    expect(String(error)).toContain("only the administrator may do this: run flannelctl as root on the store's host");
  }
  await expect(world.administrator.renew(never)).rejects.toThrow("only a host may do this, for itself");
  await expect(world.administrator.leave(never)).rejects.toThrow("only a host may do this, for itself");
});

test("what the CA signed and the list does not name is nobody's", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const authority = await ClusterAuthority.open(clusterFiles(world.clusterDirectory));
  const forged = world.newHost("h1", makePrivateKey());
  const publicKey = createPublicKey(createPrivateKey(forged.keyPem));
  const { pem } = authority.issueHost(publicKey, "h1", Date.now());
  forged.keep({ certificatePem: pem, caPem: readFileSync(host.files.caFile, "utf8"), etcdPrefix: "" });
  await expect(forged.control("get", "key")).rejects.toThrow("does not belong to a present member of the cluster");
  // Nor is the store's own certificate good for calling it.
  const { serverCertificate, serverKey } = clusterFiles(world.clusterDirectory);
  writeFileSync(forged.files.certFile, readFileSync(serverCertificate));
  writeFileSync(forged.files.keyFile, readFileSync(serverKey));
  await expect(forged.control("get", "key")).rejects.toThrow("the certificate is not from this cluster");
});

test("clusters do not take each other's hosts, nor hosts each other's stores", async () => {
  await using world = await ClusterWorld.start();
  await using other = await ClusterWorld.start();
  const [host, stranger] = [await world.joined("h1"), await other.joined("h1")];
  const { caFile, certFile, keyFile } = { ...stranger.files, caFile: host.files.caFile };
  const client = new ClusterClient({ endpoints: host.endpoints, caFile, certFile, keyFile });
  await expect(client.renew(never)).rejects.toThrow("the certificate is not from this cluster");
  const misled = new ClusterClient({ endpoints: other.server.endpoints, ...host.files });
  await expect(misled.renew(never)).rejects.toThrow("its certificate is not from the CA of this cluster");
});

test("a host cannot pass for the store, whatever name it joined under", async () => {
  await using world = await ClusterWorld.start();
  const [rogue, host] = [await world.joined("localhost"), await world.joined("h1")];
  const [cert, key] = [readFileSync(rogue.files.certFile), readFileSync(rogue.files.keyFile)];
  const server = createSecureServer({ cert, key }).listen(0, "localhost");
  await once(server, "listening");
  const endpoints = `https://localhost:${(server.address() as AddressInfo).port}`;
  let requests = 0;
  server.on("stream", (stream) => {
    requests++;
    stream.respond({ ":status": 200 }, { endStream: true });
  });
  const misled = new ClusterClient({ endpoints, ...host.files });
  await expect(misled.renew(never)).rejects.toThrow("unsuitable certificate purpose");
  await using agent = await EtcdConnection.open({ endpoints, tls: host.files });
  await expect(agent.call(methods.range, RangeRequest.fromPartial({}), "read", never)).rejects.toThrow(
    "unsuitable certificate purpose",
  );
  const argv = ["--endpoints", endpoints, "--cacert", host.files.caFile, "--command-timeout=2s", "get", "key"];
  await expect(run("etcdctl", argv, { env: { ...process.env, ETCDCTL_API: "3" } })).rejects.toThrow();
  expect(requests).toBe(0);
  server.close();
});

test("without certificate: nothing but joining and the health check, on a resumed session too", async () => {
  await using world = await ClusterWorld.start();
  const { host, port } = world.address;
  const open = async (session?: Buffer): Promise<TLSSocket> => {
    const options = { host, port, rejectUnauthorized: false, ALPNProtocols: ["h2"], ...(session && { session }) };
    const socket = connectTls(options);
    await once(socket, "secureConnect");
    return socket;
  };
  const first = await open();
  const [ticket] = (await once(first, "session")) as [Buffer];
  first.destroy();
  const second = await open(ticket);
  expect(second.isSessionReused()).toBe(true);
  for (const socket of [await open(), second]) {
    const session = connectHttp2(world.address.url, { createConnection: () => socket });
    const asked = async (path: string) => {
      const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
      const [headers] = (await once(stream.end(Buffer.from([0, 0, 0, 0, 0])), "response")) as [Record<string, string>];
      stream.resume();
      return headers["grpc-message"] ?? headers[":status"];
    };
    for (const path of [
      "/etcdserverpb.KV/Range",
      "/etcdserverpb.Watch/Watch",
      "/flannel.cluster.v1.Cluster/ListHosts",
    ]) {
      expect(await asked(path)).toContain("requires the certificate of a member of its cluster");
    }
    expect(await asked("/grpc.health.v1.Health/Check")).toBe(200);
    session.destroy();
  }
});

test("strangers get few connections and few calls; a member gets in beside them", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const { host: address, port } = world.address;
  const sockets = Array.from({ length: 80 }, () => connectTcp(port, address).on("error", () => undefined));
  await until(() => sockets.filter((socket) => socket.closed).length >= 30, { what: "those too many to be closed" });
  // The member comes from the same source while they hold all it may have: each time the oldest of them has to go.
  for (let call = 0; call < 3; call++)
    expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  const left = sockets.map((socket) => !socket.closed);
  expect(left.filter(Boolean).length).toBeGreaterThan(40);
  expect(left.slice(0, 30)).not.toContain(true);
  for (const socket of sockets) socket.destroy();

  const session = connectHttp2(world.address.url, { rejectUnauthorized: false }).on("error", () => undefined);
  const path = "/flannel.cluster.v1.Cluster/Join";
  for (let call = 0; call < 40; call++) {
    session
      .request({ ":method": "POST", ":path": path, "content-type": "application/grpc" })
      .on("error", () => undefined);
  }
  await until(() => session.closed, { what: "the one with too many calls to be hung up on" });
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
});

test("a removed host is a stranger like others: it cannot hold all connections", async () => {
  await using world = await ClusterWorld.start();
  const [host, other] = [await world.joined("h1"), await world.joined("h2")];
  const { files, endpoints } = host;
  const [cert, key, ca] = [files.certFile, files.keyFile, files.caFile].map((file) => readFileSync(file));
  await world.administrator.removeHost("h1", never);
  const sessions = Array.from({ length: 80 }, () =>
    connectHttp2(endpoints, { cert, key, ca }).on("error", () => undefined),
  );
  await until(() => sessions.filter((session) => session.destroyed).length >= 30, {
    what: "those too many to be closed",
  });
  expect(await other.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  for (const session of sessions) session.destroy();
});

test("what a stranger sends on after its refusal costs no memory, what is no message no line in the log", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const path = "/flannel.cluster.v1.Cluster/Join";
  const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc" };
  const session = connectHttp2(world.address.url, { rejectUnauthorized: false }).on("error", () => undefined);
  // A message of 2 GB is announced, and 300 MB of it come.
  const stream = session.request(headers).on("error", () => undefined);
  stream.resume().write(Buffer.from([0, 0x7f, 0, 0, 0]));
  const [refusal] = (await once(stream, "response")) as [Record<string, string>];
  expect(refusal["grpc-message"]).toContain("received message larger than max");
  const before = residentMegabytes(world);
  const piece = Buffer.alloc(65_536);
  for (let count = 0; count < 4_800 && !stream.destroyed; count++) {
    await new Promise((resolve) => stream.write(piece, resolve));
  }
  expect(residentMegabytes(world) - before).toBeLessThan(150);
  stream.destroy();

  const garbage = fc.sample(fc.uint8Array({ maxLength: 200 }), { numRuns: 2_000, seed: 1 });
  const answers = new Set<string>();
  for (const bytes of garbage) {
    const call = session.closed ? undefined : session.request(headers).on("error", () => undefined);
    if (call === undefined) throw new Error("the session is closed");
    call.end(frame(bytes));
    const [answer] = (await once(call.resume(), "response")) as [Record<string, string>];
    answers.add(answer["grpc-status"] ?? "none");
  }
  // Internal (no message), unauthenticated (no token), after some of those: wait.
  expect([...answers].sort()).toEqual(["13", "16", "8"]);
  session.destroy();
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  expect(world.server.member.log().trim().split("\n")).toHaveLength(1);
});

function residentMegabytes({ server }: ClusterWorld): number {
  const status = readFileSync(`/proc/${server.member.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

test("directory and files are for the owner alone, whatever happens to them", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  await host.client.renew(never);
  await world.token();
  const directory = world.clusterDirectory;
  expect((statSync(directory).mode & 0o777).toString(8)).toBe("700");
  const names = readdirSync(directory);
  expect(names.sort()).toEqual(
    ["admin-key.pem", "admin.pem", "ca-key.pem", "ca.pem", "members.json", "server-key.pem", "server.pem"].sort(),
  );
  for (const name of names) expect((statSync(join(directory, name)).mode & 0o777).toString(8), name).toBe("600");
});
