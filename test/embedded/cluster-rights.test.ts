// Who may write what in the store of a cluster: a host its own lease, the administrator everything. Against the real store,
// with the requests of agents, of etcdctl, and of somebody who stole a host's key.

import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Compare, Compare_CompareTarget, type RequestOp } from "../../src/etcd-api/etcd.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import type { OwnLease } from "../../src/lease/lease.ts";
import { EtcdAdministration } from "../../src/store/etcd/etcd-administration.ts";
import { EtcdConnection } from "../../src/store/etcd/etcd-connection.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { attributesOf, directory, dualConfig, ipv4Config, never, prefix, requestOf } from "../etcd/fixture.ts";
import { ClusterWorld, type TestHost } from "./cluster-world.ts";

let world: ClusterWorld;
let victim: TestHost;
let thief: TestHost;

beforeAll(async () => {
  world = await ClusterWorld.start();
  await world.control("put", `${prefix}/config`, '{"Network":"10.5.0.0/16"}');
  [victim, thief] = [await world.joined("victim"), await world.joined("thief")];
});

afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

/** The key of a lease. */
const at = (name: string) => Buffer.from(directory + name);
const lease = (publicIp: string) => Buffer.from(JSON.stringify({ PublicIP: publicIp }));

function connect({ endpoints, files }: TestHost): Promise<EtcdConnection> {
  return EtcdConnection.open({ endpoints, tls: files });
}

async function administration(): Promise<EtcdAdministration> {
  const tls = world.administratorFiles;
  return await EtcdAdministration.open({ endpoints: world.server.endpoints, prefix, tls });
}

async function grant(connection: EtcdConnection, ttl = 600n): Promise<bigint> {
  return (await connection.call(methods.leaseGrant, { id: 0n, ttl }, "grant", never)).id;
}

async function acquired(host: TestHost, publicIp: string, previous: string): Promise<OwnLease> {
  await using store = await host.store();
  const request = requestOf(publicIp, { previous: { subnet: parsePrefix(previous) } });
  return (await store.acquire(request, never)).lease;
}

const put = (key: Uint8Array, value: Uint8Array, id = 0n): Partial<RequestOp> => ({
  requestPut: { key, value, lease: id, prevKv: false, ignoreValue: false, ignoreLease: false },
});
const del = (key: Uint8Array, rangeEnd = Buffer.alloc(0)): Partial<RequestOp> => ({
  requestDeleteRange: { key, rangeEnd, prevKv: false },
});
const compared = (key: Uint8Array, modRevision: bigint) =>
  Compare.fromPartial({ target: Compare_CompareTarget.MOD, key, modRevision });

function operation(part: Partial<RequestOp>): RequestOp {
  const nothing = { requestRange: undefined, requestPut: undefined, requestDeleteRange: undefined };
  return { ...nothing, requestTxn: undefined, ...part };
}

function txn(connection: EtcdConnection, parts: readonly Partial<RequestOp>[], compare: readonly Compare[] = []) {
  const request = { compare: [...compare], success: parts.map(operation), failure: [] };
  return connection.call(methods.txn, request, "write", never);
}

/** Everything in the store, for a look whether anything changed. */
const contents = () => world.control("get", "--prefix", prefix, "-w", "json").then((text) => JSON.parse(text).kvs);

test("a host takes, renews, rewrites, moves and deletes its own lease, as agents do", async () => {
  const host = await world.joined("usual");
  await using store = await host.store();
  const { lease: first } = await store.acquire(requestOf("192.0.2.10"), never);
  const renewed = await store.renew(first, first.attributes, never);
  // With other attributes: another store lease on the same key.
  const moved = await store.renew(renewed, attributesOf("192.0.2.110", "02:00:00:00:00:10"), never);
  expect(moved.key).toBe(first.key);
  // IPv6 is turned on: one transaction deletes the old key and creates the new one.
  const remembered = { key: moved.key, adapterData: moved.adapterData, matches: () => true };
  const attributes = { ...moved.attributes };
  const { lease: dual } = await store.acquire({ config: dualConfig, attributes, remembered }, never);
  expect(dual.key.startsWith(`${first.key}&fd00:`)).toBe(true);
  await using connection = await connect(host);
  await connection.call(methods.leaseRevoke, { id: BigInt(String(dual.adapterData)) }, "revoke", never);
  await using administrator = await administration();
  expect((await administrator.list(never)).map(({ key }) => key)).not.toContain(dual.key);
});

test("a stolen key of one host redirects nobody else's traffic, by whatever request", async () => {
  const own = await acquired(thief, "192.0.2.66", "10.5.66.0/24");
  const theirs = await acquired(victim, "192.0.2.2", "10.5.2.0/24");
  const [theirId, key] = [BigInt(String(theirs.adapterData)), at(theirs.key)];
  await using connection = await connect(thief);
  const id = await grant(connection);
  const before = await contents();
  const call = connection.call.bind(connection);
  const belongs =
    /host thief may not \S+ lease 10\.5\.2\.0-24, which belongs to host victim; this needs the right of the administrator/;
  const [evil, none] = [lease("192.0.2.66"), Buffer.alloc(0)];
  const plainPut = { key, value: evil, lease: id, prevKv: false, ignoreValue: false, ignoreLease: false };
  const attempts: readonly (readonly [RegExp, () => Promise<unknown>])[] = [
    [belongs, () => call(methods.put, plainPut, "put", never)],
    [belongs, () => call(methods.put, { ...plainPut, lease: 0n, ignoreLease: true }, "put", never)],
    [belongs, () => call(methods.put, { ...plainPut, value: none, ignoreValue: true }, "put", never)],
    [belongs, () => call(methods.deleteRange, { key, rangeEnd: none, prevKv: false }, "delete", never)],
    [belongs, () => txn(connection, [put(key, evil, id)])],
    [belongs, () => txn(connection, [put(key, evil, id)], [compared(key, 0n)]).then(refusedRace)],
    [belongs, () => txn(connection, [{ requestTxn: { compare: [], success: [operation(del(key))], failure: [] } }])],
    // In the place of the other's a key for the same subnet, at one revision.
    [belongs, () => txn(connection, [del(key), put(at("10.5.2.0-24&fd00:0:0:66::-64"), evil, id)])],
    [
      /may not take 10\.5\.2\.0-25: it overlaps with lease 10\.5\.2\.0-24/,
      () => txn(connection, [put(at("10.5.2.0-25"), evil, id)]),
    ],
    [/overlaps with lease/, () => txn(connection, [put(at("10.4.0.0-15"), evil, id)])],
    [
      /delete more than its own lease|delete lease|delete \/coreos/,
      () => txn(connection, [del(Buffer.from(prefix), Buffer.from("/d"))]),
    ],
    [
      /may not write \/coreos\.com\/network\/config/,
      () => txn(connection, [put(Buffer.from(`${prefix}/config`), evil)]),
    ],
    [/may not delete \/coreos\.com\/network\/config/, () => txn(connection, [del(Buffer.from(`${prefix}/config`))])],
    [
      /may not write other\/subnets\/10\.9\.0\.0-24/,
      () => txn(connection, [put(Buffer.from("other/subnets/10.9.0.0-24"), evil, id)]),
    ],
    [/may not write \/coreos\.com\/network\/subnets\/x/, () => txn(connection, [put(at("x"), evil, id)])],
    [/write what is no lease/, () => txn(connection, [put(at("10.5.70.0-24"), Buffer.from("x"), id)])],
    [/make a reservation/, () => txn(connection, [put(at("10.5.70.0-24"), evil)])],
    [/make lease 10\.5\.66\.0-24 a reservation/, () => txn(connection, [put(at(own.key), evil)])],
    [/use the store lease of lease 10\.5\.2\.0-24/, () => txn(connection, [put(at("10.5.70.0-24"), evil, theirId)])],
    [
      /revoke the store lease of lease 10\.5\.2\.0-24/,
      () => call(methods.leaseRevoke, { id: theirId }, "revoke", never),
    ],
    [
      /renew the store lease of lease/,
      () => connection.callStreamOnce(methods.leaseKeepAlive, { id: theirId }, "keep", never),
    ],
    [/choose the id of a store lease/, () => call(methods.leaseGrant, { id: 77n, ttl: 600n }, "grant", never)],
    [/may not compact the store/, () => call(methods.compact, { revision: 2n, physical: false }, "compact", never)],
    [/may not defragment the store/, () => thief.control("defrag")],
    [/only the administrator may do this/, () => thief.client.removeHost("victim", never)],
  ];
  for (const [why, attempt] of attempts) await expect(attempt(), String(why)).rejects.toThrow(why);
  expect(await contents()).toEqual(before);
  expect(await victim.control("lease", "timetolive", theirId.toString(16))).toContain("remaining");
  expect(await thief.control("get", "--prefix", directory, "--keys-only")).toContain(theirs.key);
});

/** An agent that was not the first is told so, as ever: it is no offence to ask. */
function refusedRace({ succeeded }: { readonly succeeded: boolean }): never {
  throw new Error(
    succeeded
      ? "written"
      : "host thief may not write lease 10.5.2.0-24, which belongs to host victim; this needs the right of the administrator",
  );
}

test("a reservation is taken by the host it is for, which neither makes one nor gives it up by halves", async () => {
  await using administrator = await administration();
  const reserve = (subnet: string, publicIp: string) =>
    administrator.reserve(
      { config: ipv4Config, subnets: { subnet: parsePrefix(subnet) }, owner: attributesOf(publicIp) },
      never,
    );
  await reserve("10.5.30.0/24", "192.0.2.30");
  await using connection = await connect(thief);
  const refusal = "may not write lease 10.5.30.0-24, which is for 192.0.2.30";
  await expect(txn(connection, [put(at("10.5.30.0-24"), lease("192.0.2.66"))])).rejects.toThrow(refusal);
  await expect(txn(connection, [del(at("10.5.30.0-24"))])).rejects.toThrow("may not delete lease 10.5.30.0-24");
  const host = await world.joined("reserved");
  await using store = await host.store();
  const { lease: taken } = await store.acquire(requestOf("192.0.2.30"), never);
  expect(taken).toMatchObject({ key: "10.5.30.0-24", isReservation: true });
  // From now on it is that host's, whatever it announces.
  await expect(txn(connection, [put(at("10.5.30.0-24"), lease("192.0.2.30"))])).rejects.toThrow(
    "belongs to host reserved",
  );
  const moved = await store.renew(taken, attributesOf("192.0.2.31"), never);
  await using own = await connect(host);
  const ends = txn(own, [put(at("10.5.30.0-24"), lease("192.0.2.31"), await grant(own))]);
  await expect(ends).rejects.toThrow("may not make the reservation 10.5.30.0-24 a lease that ends");
  // With IPv6 it moves to another key, and stays a reservation.
  const remembered = { key: moved.key, adapterData: moved.adapterData, matches: () => true };
  const request = { config: dualConfig, attributes: moved.attributes, remembered };
  const { lease: dual } = await store.acquire(request, never);
  expect(dual).toMatchObject({ isReservation: true, subnet: "10.5.30.0/24" });
  // Taken back by the administrator it is a lease again, on a store lease of the administrator's, and the host renews it.
  expect(await administrator.release(dual.key, {}, never)).toBe("expiring");
  expect(await store.renew(dual, dual.attributes, never)).toMatchObject({ key: dual.key, isReservation: false });
});

test("the administrator writes everything; what it gives to another is that one's", async () => {
  const theirs = await acquired(victim, "192.0.2.2", "10.5.2.0/24");
  await world.control("put", directory + theirs.key, '{"PublicIP":"192.0.2.41"}');
  const heir = await world.joined("heir");
  await using store = await heir.store();
  expect((await store.acquire(requestOf("192.0.2.41"), never)).lease.key).toBe(theirs.key);
  await world.control("del", directory + theirs.key);
  await world.control("compact", String((await contents())[0].mod_revision));
  await world.control("defrag");
});

test("no host holds store leases or keys without end", async () => {
  const host = await world.joined("greedy");
  await using connection = await connect(host);
  const { ttl } = await connection.call(methods.leaseGrant, { id: 0n, ttl: 9_000_000n }, "grant", never);
  expect(ttl).toBe(86_400n);
  const ids: bigint[] = [];
  for (let round = 0; round < 130; round++) ids.push(await grant(connection));
  const { leases } = await connection.call(methods.leaseLeases, {}, "list", never);
  const left = ids.filter((id) => leases.some((one) => one.id === id));
  expect(left).toEqual(ids.slice(-100));
  const takes = Array.from({ length: 17 }, (_, number) => async () => {
    await txn(connection, [put(at(`10.5.${100 + number}.0-24`), lease("192.0.2.50"), left.at(-1))]);
  });
  for (const take of takes.slice(0, 16)) await take();
  await expect(takes[16]?.()).rejects.toThrow("may not have more than 16 leases at a time");
  await using store = await host.store();
  expect((await store.list(never)).length).toBeGreaterThanOrEqual(16);
});

test("leases from before the store knew owners go on; their hosts own them from the first renewal", async () => {
  await using world2 = await ClusterWorld.start();
  const [host, other] = [await world2.joined("h1"), await world2.joined("h2")];
  await using store = await host.store();
  const { lease: old } = await store.acquire(requestOf("192.0.2.10"), never);
  await world2.server.member.kill("SIGTERM");
  const db = new DatabaseSync(join(world2.server.dataDirectory, "store.db"));
  // As the former build left the file.
  db.exec(
    "DROP TRIGGER key_without_owner; DROP TRIGGER lease_without_owner; DROP TABLE key_owner; DROP TABLE lease_owner",
  );
  db.close();
  await world2.server.member.restart();
  await using connection = await connect(other);
  const take = (publicIp: string) =>
    txn(connection, [put(at(old.key), lease(publicIp), BigInt(String(old.adapterData)))]);
  await expect(take("192.0.2.66")).rejects.toThrow(`may not write lease ${old.key}, which is for 192.0.2.10`);
  await expect(txn(connection, [del(at(old.key))])).rejects.toThrow("may not delete lease");
  await store.renew(old, old.attributes, never);
  await expect(take("192.0.2.10")).rejects.toThrow("belongs to host h1");
  await world2.administrator.removeHost("h1", never);
  expect(await world2.control("get", directory + old.key)).toBe("");
});
