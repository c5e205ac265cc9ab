// Joining a cluster: what a token is good for and what not, and who gets to see its secret. Against the real store.
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { createServer, type Server } from "node:tls";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { hasCode } from "../../src/errors.ts";
import { parseStoreAddress, type StoreAddress } from "../../src/flannel-store/grpc/store-address.ts";
import { clusterFiles } from "../../src/flannel-store/membership/cluster-files.ts";
import { joinCluster } from "../../src/flannel-store/membership/join-cluster.ts";
import { formatToken, parseToken } from "../../src/flannel-store/membership/join-token.ts";
import { keyPin, makePrivateKey } from "../../src/flannel-store/membership/keys.ts";
import { never, prefix } from "../etcd/fixture.ts";
import { Pki } from "../etcd/pki.ts";
import { ClusterWorld } from "./cluster-world.ts";
import { EmbeddedServer } from "./embedded-server.ts";

test("a host joins with a token, and then reads and writes the store", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  expect(await host.control("get", "key")).toBe("");
  await using store = await host.store();
  expect(await store.list(never)).toEqual([]);
  const hosts = await world.administrator.listHosts(never);
  expect(hosts).toMatchObject([{ name: "h1", addresses: ["127.0.0.1"], isConnected: true }]);
});

test("what is joined is told the prefix of the keys, and the CA", async () => {
  await using world = await ClusterWorld.start();
  const { address } = world;
  const options = { address, token: await world.token(), hostName: "h1.example", keyPem: makePrivateKey() };
  const joined = await joinCluster(options, never);
  expect(joined.etcdPrefix).toBe(prefix);
  expect(joined.caPem).toBe(readFileSync(clusterFiles(world.clusterDirectory).caCertificate, "utf8"));
});

test("a token of one's own making, an expired, a used and a revoked one: one sentence each", async () => {
  await using world = await ClusterWorld.start();
  const good = await world.token();
  const { id, pin } = parseToken(good);
  const made = `${id}.${"A".repeat(32)}.${pin}`;
  await expect(world.join(world.newHost("h1"), made)).rejects.toThrow("this store does not know the token");
  await expect(world.join(world.newHost("h1"), good.replace(id, "unknown0"))).rejects.toThrow(
    "does not know the token",
  );

  const short = await world.administrator.createToken(1, never);
  await until(() => Date.now() > Number(short.expiresAtMs), { what: "the token's life to end" });
  await expect(world.join(world.newHost("h1"), short.token)).rejects.toThrow(
    // The time shows a clock of the store that is wrong.
    `token ${short.id} has expired, at ${new Date(Number(short.expiresAtMs)).toISOString()} by the clock of the store's host`,
  );

  await world.join(world.newHost("h1"), good);
  await expect(world.join(world.newHost("h2"), good)).rejects.toThrow(`token ${id} has been used already, by host h1`);

  const { token: revoked, id: revokedId } = await world.administrator.createToken(600, never);
  await world.administrator.revokeToken(revokedId, never);
  await expect(world.join(world.newHost("h3"), revoked)).rejects.toThrow(`token ${revokedId} has been revoked`);

  const tokens = await world.administrator.listTokens(never);
  expect(tokens.map(({ usedBy, revokedAtMs }) => [usedBy, revokedAtMs > 0n])).toEqual([
    ["h1", false],
    ["", false],
    ["", true],
  ]);
});

test("all refusals of a token are of one kind, and none repeats the secret", async () => {
  await using world = await ClusterWorld.start();
  const token = await world.token();
  const { id, secret, pin } = parseToken(token);
  const wrong = `${id}.${"B".repeat(32)}.${pin}`;
  const error = await world.join(world.newHost("h1"), wrong).catch((refused: unknown) => refused);
  expect(hasCode(error, "STORE_UNAUTHORIZED")).toBe(true);
  expect(String(error)).not.toContain("BBBB");
  await world.join(world.newHost("h1"), token);
  const used = await world.join(world.newHost("h2"), token).catch((refused: unknown) => refused);
  expect(hasCode(used, "STORE_UNAUTHORIZED")).toBe(true);
  expect(String(used)).not.toContain(secret);
  // Nor does it stand anywhere on the store's disk, or in what the store prints.
  for (const file of Object.values(clusterFiles(world.clusterDirectory)).slice(1)) {
    expect(readFileSync(file, "utf8"), file).not.toContain(secret);
  }
  expect(world.server.member.log()).not.toContain(secret);
});

test("the same token lets the same key in again, and only under the same name", async () => {
  await using world = await ClusterWorld.start();
  const token = await world.token();
  const host = world.newHost("h1");
  await world.join(host, token);
  const first = readFileSync(host.files.certFile, "utf8");
  await world.join(host, token);
  expect(readFileSync(host.files.certFile, "utf8")).not.toBe(first);
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  await expect(world.join(world.newHost("h2", host.keyPem), token)).rejects.toThrow(
    "has been used already, by host h1",
  );
  expect(await world.administrator.listHosts(never)).toHaveLength(1);
});

test("a name is one host's; with its key it may join again with a new token", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  const error = await world.join(world.newHost("h1"), await world.token()).catch((refused: unknown) => refused);
  expect(hasCode(error, "CLUSTER_CONFLICT")).toBe(true);
  expect(String(error)).toContain("run flannelctl host remove h1 first, or join with --name");
  await expect(world.join(world.newHost("h2", host.keyPem), await world.token())).rejects.toThrow(
    "this host's key belongs to host h1",
  );
  await world.join(host, await world.token());
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
});

test("a token that was refused for another reason is not used up", async () => {
  await using world = await ClusterWorld.start();
  await world.joined("h1");
  const token = await world.token();
  await expect(world.join(world.newHost("h1"), token)).rejects.toThrow("another host of this cluster");
  await world.join(world.newHost("h2"), token);
});

test("of two hosts that use one token at the same moment one gets in", async () => {
  await using world = await ClusterWorld.start();
  const token = await world.token();
  const attempts = ["h1", "h2", "h3", "h4"].map((name) => world.join(world.newHost(name), token));
  const outcomes = await Promise.allSettled(attempts);
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await world.administrator.listHosts(never)).toHaveLength(1);
});

test("one with another key in the middle sees a handshake and nothing else", async () => {
  await using world = await ClusterWorld.start();
  await using pki = await Pki.create();
  await using rogue = await RogueStore.start(pki);
  const token = await world.token();
  const { id, secret } = parseToken(token);
  const options = { token, hostName: "h1", keyPem: makePrivateKey() };
  const attempt = joinCluster({ ...options, address: rogue.address }, never);
  await expect(attempt).rejects.toThrow("is not the store that issued this token: its key is a different one");
  await until(() => rogue.connections === 1 && rogue.open === 0, { what: "the connection to end" });
  expect(rogue.received).toBe("");
  // That it would have heard the secret shows a token that names its key.
  const stop = new AbortController();
  const pin = keyPin(new X509Certificate(readFileSync(pki.serverCert)).publicKey);
  const trusting = joinCluster(
    { ...options, address: rogue.address, token: formatToken({ id, secret, pin }) },
    stop.signal,
  );
  const ended = expect(trusting).rejects.toThrow("cancelled");
  await until(() => rogue.received.includes(secret), { what: "the secret to be told" });
  stop.abort();
  await ended;
  // And nothing of this used the token up.
  await joinCluster({ ...options, address: world.address }, never);
});

/** Speaks TLS with a key of its own, listens, never answers. */
class RogueStore implements AsyncDisposable {
  received = "";
  connections = 0;
  open = 0;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket: Socket) => {
      this.connections++;
      this.open++;
      socket.on("error", () => undefined).once("close", () => this.open--);
    });
    server.on("tlsClientError", () => undefined);
    server.on("secureConnection", (socket) => {
      socket
        .on("error", () => undefined)
        .on("data", (piece: Buffer) => {
          this.received += piece.toString("latin1");
        });
    });
  }

  static async start(pki: Pki): Promise<RogueStore> {
    const [cert, key] = [readFileSync(pki.serverCert), readFileSync(pki.serverKey)];
    const rogue = new RogueStore(createServer({ cert, key, ALPNProtocols: ["h2"] }));
    rogue.#server.listen(0, "127.0.0.1");
    await once(rogue.#server, "listening");
    return rogue;
  }

  get address(): StoreAddress {
    const { port } = this.#server.address() as AddressInfo;
    return parseStoreAddress(`127.0.0.1:${port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, "close");
  }
}

test("a store that is reached by an address its certificate is not for", async () => {
  await using world = await ClusterWorld.start({ extraArguments: ["--listen", "127.0.0.2:0"] });
  const port = /127\.0\.0\.2:(\d+)/.exec(world.server.member.log())?.[1];
  const options = { token: await world.token(), hostName: "h1", keyPem: makePrivateKey() };
  const detour = { ...options, address: parseStoreAddress(`127.0.0.2:${port}`) };
  await expect(joinCluster(detour, never)).rejects.toThrow("the store's certificate is not for 127.0.0.2");
  await joinCluster({ ...options, address: world.address }, never);
});

test("over IPv6, and by name", async () => {
  await using world = await ClusterWorld.start({ extraArguments: ["--listen", "[::1]:0"] });
  const port = /\[::1\]:(\d+)/.exec(world.server.member.log())?.[1];
  for (const [index, where] of [`[::1]:${port}`, `localhost:${world.address.port}`].entries()) {
    const options = { token: await world.token(), hostName: `h${index}`, keyPem: makePrivateKey() };
    await joinCluster({ ...options, address: parseStoreAddress(where) }, never);
  }
  const hosts = await world.administrator.listHosts(never);
  expect(hosts.map(({ addresses }) => addresses)).toEqual([["::1"], ["127.0.0.1"]]);
});

test("nobody there, somebody else there: a sentence each", async () => {
  const options = { token: `abcd2345.${"A".repeat(32)}.${"B".repeat(43)}`, hostName: "h1", keyPem: makePrivateKey() };
  const nobody = joinCluster({ ...options, address: parseStoreAddress("127.0.0.1:1") }, never);
  await expect(nobody).rejects.toThrow("the store at https://127.0.0.1:1 cannot be reached: connect ECONNREFUSED");
  await using plain = await EmbeddedServer.start({ inMemory: true });
  const plainAddress = parseStoreAddress(plain.endpoints.replace("http://", ""));
  await expect(joinCluster({ ...options, address: plainAddress }, never)).rejects.toThrow(
    /cannot be reached: (?!.*SSL)/,
  );
  const mail = createTcpServer((socket) => socket.on("error", () => undefined).end("220 mail\r\n")).listen(
    0,
    "127.0.0.1",
  );
  await once(mail, "listening");
  const { port } = mail.address() as AddressInfo;
  const mailAddress = parseStoreAddress(`127.0.0.1:${port}`);
  await expect(joinCluster({ ...options, address: mailAddress }, never)).rejects.toThrow(
    "the server there does not speak TLS",
  );
  mail.close();
  await using world = await ClusterWorld.start();
  const wrongName = joinCluster({ ...options, address: world.address, hostName: "Not A Name" }, never);
  await expect(wrongName).rejects.toThrow("a host name must be");
  await expect(joinCluster({ ...options, address: world.address, token: "abc" }, never)).rejects.toThrow(
    "this is not a join token",
  );
});

test("killed after the token was used up and before the answer: the host asks again and is in", async () => {
  // The list of members is renamed into place, and the process held there before it can answer.
  const hold = [
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "trace=rename",
    "-e",
    "inject=rename:delay_exit=2000000",
  ];
  await using world = await ClusterWorld.start({ wrapper: hold });
  const token = await world.token();
  const host = world.newHost("h1");
  const attempt = world.join(host, token).then(
    () => "joined",
    () => "no answer",
  );
  const { members } = clusterFiles(world.clusterDirectory);
  await until(() => readFileSync(members, "utf8").includes('"usedBy"'), { what: "the token to be used up" });
  await world.server.member.kill();
  expect(await attempt).toBe("no answer");
  world.server.member.start();
  await world.server.member.healthy();
  await expect(world.join(world.newHost("h2"), token)).rejects.toThrow("has been used already, by host h1");
  await world.join(host, token);
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
});

test("one who tries tokens is slowed down; others are not", async () => {
  await using world = await ClusterWorld.start();
  const good = await world.token();
  const { id, pin } = parseToken(good);
  const guess = (index: number) => `${id}.${String(index).padStart(32, "x")}.${pin}`;
  const member = await world.joined("h1");
  const tries = Array.from({ length: 20 }, (_, index) => world.join(world.newHost("h2"), guess(index)));
  for (const outcome of await Promise.allSettled(tries)) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "STORE_UNAUTHORIZED" } });
  }
  await expect(world.join(world.newHost("h2"), good)).rejects.toThrow("too many wrong tokens from your address");
  expect(await member.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
});
