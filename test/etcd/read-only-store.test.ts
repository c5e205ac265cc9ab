// etcd that reads, but does not write: a host whose lease lives goes on with it, follows the peers and says why; and what
// it could not write is written when that works again.
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { EtcdServer, type EtcdServerOptions } from "./etcd-server.ts";
import {
  attributesOf,
  Follower,
  foreignLease,
  ipv4Config,
  never,
  openStore,
  prefix,
  RawClient,
  requestOf,
} from "./fixture.ts";

const stack: AsyncDisposableStack[] = [];
beforeEach(() => void stack.push(new AsyncDisposableStack()));
afterEach(() => stack.pop()?.disposeAsync());

async function start(options: EtcdServerOptions = {}): Promise<EtcdServer> {
  const server = stack[0]!.use(await EtcdServer.start(options));
  await server.control("put", `${prefix}/config`, JSON.stringify({ Network: String(ipv4Config.ipv4?.network) }));
  await using first = await openStore(server.endpoints);
  await first.acquire(requestOf("192.168.0.1"), never);
  await server.control("put", foreignLease(6).key, foreignLease(6).value);
  return server;
}

/** A host that starts now: what it gets of its lease, and its view of the peers. */
async function restart(endpoints: string, options: Parameters<typeof openStore>[1] = {}) {
  const store = stack[0]!.use(await openStore(endpoints, options));
  expect((await store.networkConfig(never)).text).toContain("10.5.0.0/16");
  const { lease, outcome } = await store.acquire(requestOf("192.168.0.1"), never);
  expect(outcome).toBe("reused");
  const follower = stack[0]!.use(new Follower(store));
  await follower.until("the peer", () => follower.leases.has(foreignLease(6).name));
  return { store, lease, follower };
}

test("no space left: the living lease is kept alive, and written when there is space again", async () => {
  const server = await start({ extraArguments: ["--quota-backend-bytes", "300000"] });
  const raw = stack[0]!.use(await RawClient.open(server.endpoints));
  const fill = async () => {
    for (;;) await raw.put({ "/filling": "x".repeat(20_000) });
  };
  await expect(fill()).rejects.toMatchObject({ message: /takes no writes: .*database space exceeded/ });
  const { store, lease, follower } = await restart(server.endpoints);
  expect(lease.notWritten).toContain("database space exceeded");
  expect(lease.expiresAtMs).toBeGreaterThan(Date.now() + 80_000_000);
  const again = () => store.renew(lease, lease.attributes, never, true);
  await expect(again()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true });
  const { header } = JSON.parse(await server.control("get", "--write-out=json", "-")) as {
    header: { revision: number };
  };
  await server.control("compact", String(header.revision));
  await server.control("defrag");
  await server.control("alarm", "disarm");
  expect((await again()).notWritten).toBeUndefined();
  await raw.put({ [foreignLease(7).key]: foreignLease(7).value });
  await follower.until("a peer that came", () => follower.leases.has(foreignLease(7).name));
});

test("a role that may only read: the lease is kept, no store lease is left behind, and the watch says what is refused", async () => {
  const server = await start();
  await server.enableAuthentication();
  const root = "--user=root:secret";
  const permit = (verb: string, ...kind: string[]) =>
    server.control(root, "role", verb, "--prefix=true", "flannel", ...kind, "/coreos.com/network/");
  await permit("revoke-permission");
  await permit("grant-permission", "read");
  const login = { username: "flannel", password: "secret" };
  const { store, lease, follower } = await restart(server.endpoints, login);
  expect(lease.notWritten).toContain("permission denied");
  const moved = attributesOf("192.168.0.1", "02:00:00:00:00:07");
  await expect(store.renew(lease, moved, never)).rejects.toMatchObject({ code: "STORE_UNAUTHORIZED" });
  expect((await server.control(root, "lease", "list")).trim().split("\n")).toHaveLength(2);
  await permit("revoke-permission");
  store.reconnect();
  await follower.until("the refusal", () =>
    follower.outageReasons.some((reason) => reason.includes("permission denied")),
  );
  expect(follower.changes.at(-1)).toMatchObject({ isRefusal: true });
  await permit("grant-permission", "readwrite");
  expect((await store.renew(lease, moved, never)).attributes).toEqual(moved);
});

test("a quorum that was lost: what the last member holds is enough, until there is a leader again", async () => {
  const server = await start({ members: 3 });
  const [member, ...others] = server.members;
  await Promise.all(others.map((other) => other.kill()));
  const { store, lease, follower } = await restart(member!.endpoint, { timings: { callTimeoutMs: 1_000 } });
  expect(lease.notWritten).toMatch(/timed out|no leader|deadline/);
  expect(lease.expiresAtMs).toBeGreaterThan(Date.now() + 3_000_000);
  await follower.until("the reason", () => follower.outageReasons.some((reason) => reason.includes("no leader")));
  for (const other of others) other.start();
  await Promise.all(others.map((other) => other.healthy()));
  await follower.until("contact", () => follower.changes.at(-1)?.type === "contact");
  const renewed = () => store.renew(lease, lease.attributes, never, true);
  expect((await until(renewed, { what: "the lease to be written" })).notWritten).toBeUndefined();
  expect(follower.snapshots).toBe(1);
});

test("a member that is removed from its cluster: that is told, and not only that the connection dropped", async () => {
  const server = await start({ members: 3 });
  const [removed] = server.members;
  const { follower } = await restart(removed!.endpoint);
  await follower.until("contact", () => follower.changes.at(-1)?.type === "contact");
  const list = await server.control("member", "list");
  const [id] = list
    .split("\n")
    .find((line) => line.includes(removed!.endpoint))!
    .split(",");
  // It refuses for some seconds after the start, and may have removed it without an answer in time.
  const isRemoved = async () => {
    if (!(await server.control("member", "list")).includes(id!)) return true;
    await server.control("member", "remove", id!);
    return true;
  };
  await until(isRemoved, { what: "etcd to remove the member" });
  await follower.until("the reason", () =>
    follower.outageReasons.some((reason) => reason.includes("was removed from")),
  );
  expect(follower.changes.at(-1)).toMatchObject({ isRefusal: true });
});
