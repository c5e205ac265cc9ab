// `flannelctl store`: from etcd into the embedded store and back, nothing changed on the way.

import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { methods } from "../../src/store/etcd/rpc.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { never, prefix, RawClient } from "../etcd/fixture.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { parseOutput } from "../support/output-schema.ts";
import { EmbeddedServer } from "./embedded-server.ts";

let stack: AsyncDisposableStack;
let etcd: EtcdServer;
let embedded: EmbeddedServer;
let directory: string;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  directory = await mkdtemp(join(tmpdir(), "flannel-transfer-"));
  stack.defer(() => rm(directory, { recursive: true }));
  etcd = stack.use(await EtcdServer.start());
  embedded = stack.use(await EmbeddedServer.start({ inMemory: true }));
});

afterEach(async () => {
  await stack[Symbol.asyncDispose]();
});

function ctl(server: { endpoints: string }, argv: readonly string[], input = "", etcdPrefix = prefix) {
  const flags = ["--etcd-endpoints", server.endpoints, "--etcd-prefix", etcdPrefix];
  return flannelctl([...flags, "store", ...argv], { input });
}

/** Everything but the revision it was read at. */
function contents(text: string): unknown {
  const { leases, keys } = JSON.parse(text) as { leases: { id: string }[]; keys: unknown[] };
  return { keys, leases: leases.sort((a, b) => a.id.localeCompare(b.id)) };
}

async function fill(server: EtcdServer): Promise<void> {
  const raw = stack.use(await RawClient.open(server.endpoints));
  for (let first = 0; first < 300; first += 100) {
    const indexes = Array.from({ length: 100 }, (_, index) => first + index);
    const entries = indexes.map((index) => [`${prefix}/subnets/10.5.${index % 256}.${index}-24`, `{"n":${index}}`]);
    await raw.put(Object.fromEntries(entries));
  }
  for (const id of ["1a2b", "7fffffffffffffff"]) {
    await server.control("lease", "grant", "86400").catch(() => undefined);
    const granted = /lease ([0-9a-f]+)/.exec(await server.control("lease", "grant", "3600"))?.[1] ?? "";
    await server.control("put", `${prefix}/subnets/${id}`, "leased", `--lease=${granted}`);
  }
  await raw.put({
    [`${prefix}/config`]: '{"Network":"10.5.0.0/16"}',
    [`${prefix}/odd`]: "\u00ff\u00fe\0",
    "/other": "x",
  });
}

test("from etcd to the embedded store and back to another etcd", async () => {
  await fill(etcd);
  const exported = await ctl(etcd, ["export"]);
  expect(exported).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await ctl(embedded, ["import", "-"], exported.stdout)).toEqual({
    exitCode: 0,
    stdout: "imported 304 keys with 2 leases\n",
    stderr: "",
  });
  const ours = await ctl(embedded, ["export"]);
  expect(contents(ours.stdout)).toEqual(contents(exported.stdout));
  expect(await embedded.control("get", "/other")).toBe("");
  await etcd.control("del", "--prefix", prefix);
  expect((await ctl(etcd, ["import", "-"], ours.stdout)).exitCode).toBe(0);
  expect(contents((await ctl(etcd, ["export"])).stdout)).toEqual(contents(exported.stdout));
});

test("a second import changes nothing; one over other values writes nothing", async () => {
  await fill(etcd);
  const exported = await ctl(etcd, ["export"]);
  await ctl(embedded, ["import", "-"], exported.stdout);
  const before = await ctl(embedded, ["export"]);
  expect((await ctl(embedded, ["import", "-"], exported.stdout)).exitCode).toBe(0);
  expect((await ctl(embedded, ["export"])).stdout).toBe(before.stdout);
  await embedded.control("put", `${prefix}/config`, "other");
  await embedded.control("del", `${prefix}/odd`);
  const refused = await ctl(embedded, ["import", "-"], exported.stdout);
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain(`the store already has another value at ${prefix}/config`);
  expect(await embedded.control("get", `${prefix}/odd`)).toBe("");
});

test("a lease that the store has for a subnet of the export stays when asked for, the configuration never", async () => {
  await etcd.control("put", `${prefix}/config`, "ours");
  const [taken, free] = [`${prefix}/subnets/10.5.1.0-24`, `${prefix}/subnets/10.5.2.0-24`] as const;
  for (const key of [taken, free]) await etcd.control("put", key, "old");
  const exported = await ctl(etcd, ["export"]);
  await embedded.control("put", taken, "new");
  const refused = await ctl(embedded, ["import", "-"], exported.stdout);
  expect(refused.stderr).toContain(
    `another value at ${taken}: import into an empty one, or keep that lease with --keep`,
  );
  expect(await embedded.control("get", free)).toBe("");
  expect(await ctl(embedded, ["import", "--keep-leases", "-"], exported.stdout)).toEqual({
    exitCode: 0,
    stdout: `kept the store's own lease at ${taken}\nimported 2 keys with 0 leases\n`,
    stderr: "",
  });
  const json = await ctl(embedded, ["import", "--keep-leases", "-", "--json"], exported.stdout);
  expect(JSON.parse(json.stdout)).toEqual({ version: 1, keyCount: 3, leaseCount: 0, keptLeases: [taken] });
  expect(await embedded.control("get", "--print-value-only", taken)).toBe("new\n");
  expect(await embedded.control("get", "--print-value-only", free)).toBe("old\n");
  await embedded.control("put", `${prefix}/config`, "theirs");
  const other = await ctl(embedded, ["import", "--keep-leases", "-"], exported.stdout);
  expect(other.stderr).toContain(
    `another value at ${prefix}/config: import into an empty one, or delete that key first`,
  );
});

test("a reservation stays one when its host took the lease anew before the import", async () => {
  const grant = (raw: RawClient, id: bigint) =>
    raw.connection.call(methods.leaseGrant, { id, ttl: 86_400n }, "test", never);
  const before = stack.use(await RawClient.open(etcd.endpoints));
  const [reserved, renewed, absent] = [1, 2, 3].map((index) => `${prefix}/subnets/10.5.${index}.0-24`) as [
    string,
    string,
    string,
  ];
  await before.put({ [reserved]: "a" });
  for (const [key, id] of [[renewed, 20n] as const, [absent, 30n] as const]) {
    await grant(before, id);
    await before.put({ [key]: "b" }, id);
  }
  const exported = await ctl(etcd, ["export"]);
  const now = stack.use(await RawClient.open(embedded.endpoints));
  await grant(now, 7n);
  await now.put({ [reserved]: "a", [renewed]: "b" }, 7n);
  expect(await ctl(embedded, ["import", "-"], exported.stdout)).toMatchObject({ exitCode: 0, stderr: "" });
  const { keys } = JSON.parse((await ctl(embedded, ["export"])).stdout) as { keys: unknown };
  expect(keys).toEqual([
    { key: reserved, value: "a" },
    { key: renewed, value: "b", lease: "7" },
    { key: absent, value: "b", lease: "30" },
  ]);
  // No lease is granted that no key needs.
  expect((await embedded.control("lease", "list")).trim().split("\n").slice(1).sort()).toEqual([
    "0000000000000007",
    "000000000000001e",
  ]);
});

test("a backup is a whole file for the owner alone, and can be imported", async () => {
  await fill(etcd);
  const file = join(directory, "backup.json");
  expect(await ctl(etcd, ["backup", file])).toEqual({
    exitCode: 0,
    stdout: `wrote 304 keys with 2 leases to ${file}\n`,
    stderr: "",
  });
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const json = await ctl(etcd, ["backup", file, "--json"]);
  expect(JSON.parse(json.stdout)).toEqual({ version: 1, keyCount: 304, leaseCount: 2 });
  parseOutput("store export", await readFile(file, "utf8"));
  expect((await ctl(embedded, ["import", file])).exitCode).toBe(0);
  const imported = await ctl(embedded, ["export"]);
  expect(contents(imported.stdout)).toEqual(contents(await readFile(file, "utf8")));
  const nowhere = await ctl(etcd, ["backup", join(directory, "no", "file")]);
  expect(nowhere.exitCode).toBe(1);
  expect(nowhere.stderr).toContain("cannot write");
});

test.each([
  ["/coreos.com/network/", prefix],
  ["//coreos.com//network", prefix],
  ["/n\u00e9t", "/n\u00e9t"],
])("with the prefix %s what stands below %s goes out and in", async (given, cleaned) => {
  await etcd.control("put", `${cleaned}/config`, "{}");
  const file = join(directory, "backup.json");
  expect(await ctl(etcd, ["backup", file], "", given)).toMatchObject({
    exitCode: 0,
    stdout: `wrote 1 key with 0 leases to ${file}\n`,
  });
  expect(await ctl(embedded, ["import", file], "", given)).toMatchObject({ exitCode: 0, stderr: "" });
  expect(await embedded.control("get", `${cleaned}/config`, "--print-value-only")).toBe("{}\n");
  expect(contents((await ctl(embedded, ["export"], "", given)).stdout)).toEqual(contents(await readFile(file, "utf8")));
});

test("no keys are an error, and the backup of yesterday stays", async () => {
  const file = join(directory, "backup.json");
  await writeFile(file, "yesterday");
  const expected = {
    exitCode: 1,
    stdout: "",
    stderr:
      "flannelctl: the store has no keys below /other/, and nothing was written: " +
      "check that --etcd-prefix and --etcd-endpoints are those of the agents\n",
  };
  expect(await ctl(embedded, ["backup", file], "", "/other/")).toEqual(expected);
  expect(await ctl(embedded, ["export"], "", "/other")).toEqual(expected);
  expect(await readFile(file, "utf8")).toBe("yesterday");
});

test("a key that is not below the prefix is refused", async () => {
  await etcd.control("put", "/n\u00e9t/config", "{}");
  const exported = await ctl(etcd, ["export"], "", "/n\u00e9t");
  const { exitCode, stderr } = await ctl(embedded, ["import", "-"], exported.stdout, "/n\u00e9");
  expect(exitCode).toBe(2);
  expect(stderr).toContain(
    "- holds the key /n\u00e9t/config, which is not below /n\u00e9/: give the right --etcd-prefix",
  );
});

test.each([["{"], ["{}"], ['{"format":"flannel-store-export/1","revision":"1","leases":[],"keys":[{"key":"a"}]}']])(
  "refuses %s",
  async (text) => {
    const { exitCode, stderr } = await ctl(embedded, ["import", "-"], text);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("- is not an export of flannelctl store export");
  },
);
