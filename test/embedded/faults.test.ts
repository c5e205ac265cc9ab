// A disk that is full, files that are damaged, directories that cannot be used: what the store says, and that it goes on
// where it can.
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { PutRequest, RangeRequest, TxnRequest } from "../../src/etcd-api/etcd.ts";
import { methods } from "../../src/store/etcd/rpc.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { SmallDisk } from "./small-disk.ts";
import { StoreClient } from "./store-client.ts";

const run = promisify(execFile);
const program = join(import.meta.dirname, "../../bin/flannel-store");

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "flannel-faults-"));
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

/** What the program says when it ends by itself, with its exit code in front. */
async function ends(...commandLine: readonly string[]): Promise<string> {
  const argv = ["--listen", "127.0.0.1:0", ...commandLine];
  const options = { timeout: DEADLINE_MS, killSignal: "SIGKILL" } as const;
  const { code, stderr } = await run(program, argv, options).then(
    ({ stdout }) => ({ code: 0, stderr: stdout }),
    (error: unknown) => error as { code: number; stderr: string },
  );
  return `${code} ${stderr}`;
}

test("a full disk at the start: reads go on, and so do writes when there is room", async () => {
  await using disk = await SmallDisk.make(directory, "full-at-start");
  await using server = await EmbeddedServer.start({ disk });
  using client = new StoreClient(server.endpoints);
  const put = PutRequest.fromPartial({ key: Buffer.from("k"), value: Buffer.alloc(1_000) });
  const get = RangeRequest.fromPartial({ key: Buffer.from("k") });
  const readInTxn = TxnRequest.fromPartial({ success: [{ requestRange: get }] });
  const term = async () => (await client.call(methods.range, get)).header?.raftTerm ?? 0n;
  await client.call(methods.put, put);
  let lastTerm = await term();
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await disk.fill(`before ${signal}`);
    await server.member.kill(signal);
    // What the stop gave back.
    await disk.fill(`after ${signal}`);
    server.member.start();
    await server.member.healthy();
    expect((await client.call(methods.range, get)).kvs).toHaveLength(1);
    expect((await client.call(methods.txn, readInTxn)).responses[0]?.responseRange?.kvs).toHaveLength(1);
    expect(await client.ask(methods.put, put)).toEqual({ error: "8 etcdserver: mvcc: database space exceeded" });
    // Remembered, though it is not on disk.
    const present = await term();
    expect(present).toBeGreaterThan(lastTerm);
    lastTerm = present;
    expect(server.member.log()).toContain("database or disk is full");
  }
  for (const name of ["before SIGKILL", "after SIGKILL", "before SIGTERM", "after SIGTERM"]) await rm(disk.path(name));
  expect(await client.ask(methods.put, put)).toHaveProperty("ok");
  await server.member.restart("SIGKILL");
  expect(await term()).toBeGreaterThan(lastTerm);
  expect((await readdir(disk.path("data"))).sort()).toEqual(["lock", "store.db", "store.db-wal"]);
});

test("a full disk: writes are refused with etcd's words, reads go on, and so do writes when there is room", async () => {
  const mount = join(directory, "small");
  await mkdir(mount);
  // In the server's own mount namespace; seen from here below /proc.
  const wrapper = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=6m none "$0" && exec "$@"', mount];
  await using server = await EmbeddedServer.start({ wrapper, extraArguments: ["--data-dir", join(mount, "data")] });
  const filler = `/proc/${server.member.pid}/root${join(mount, "filler")}`;
  await writeFile(filler, Buffer.alloc(3_000_000));
  using client = new StoreClient(server.endpoints);
  const put = (index: number, bytes: number) =>
    client.ask(
      methods.put,
      PutRequest.fromPartial({ key: Buffer.from(`k${index}`), value: Buffer.alloc(bytes, index) }),
    );
  let acknowledged = 0;
  let answer = await put(acknowledged, 200_000);
  while ("ok" in answer && acknowledged < 100) answer = await put(++acknowledged, 200_000);
  expect(answer).toEqual({ error: "8 etcdserver: mvcc: database space exceeded" });
  const everything = RangeRequest.fromPartial({ key: Buffer.from("k"), rangeEnd: Buffer.from("l") });
  const found = await client.call(methods.range, everything);
  expect(found.kvs.map(({ value }) => value.length)).toEqual(new Array(acknowledged).fill(200_000));
  await rm(filler);
  expect(await put(acknowledged, 1_000)).toHaveProperty("ok");
  const after = await client.call(methods.range, everything);
  expect(after.kvs).toHaveLength(acknowledged + 1);
  expect(after.header?.revision).toBe((found.header?.revision ?? 0n) + 1n);
  expect(server.member.log()).toContain("database or disk is full");
});

test("a file that is no database, or a newer one: exit code 1 and a sentence, and the file stays as it is", async () => {
  const data = join(directory, "damaged");
  await mkdir(data);
  const file = join(data, "store.db");
  const noise = Buffer.from("this is no database at all".repeat(1_000));
  await writeFile(file, noise);
  expect(await ends("--data-dir", data)).toBe(
    `1 flannel-store: cannot open the store in ${data}: file is not a database\n`,
  );
  expect((await readFile(file)).equals(noise)).toBe(true);
  await using server = await EmbeddedServer.start();
  await server.member.kill("SIGTERM");
  await copyFile(join(server.dataDirectory, "store.db"), file);
  const bytes = await readFile(file);
  // The header's user version.
  bytes.writeUInt32BE(1_000, 60);
  await writeFile(file, bytes);
  expect(await ends("--data-dir", data)).toBe(
    `1 flannel-store: cannot open the store in ${data}: ${file} has format 1000, but this flannel-store reads format 2: use the version that wrote the file\n`,
  );
});

test("a store that lost its file or a part of its log does not start, and says how to go on; a torn end is no damage", async () => {
  await using server = await EmbeddedServer.start({ inMemory: true });
  using client = new StoreClient(server.endpoints);
  const put = PutRequest.fromPartial({ key: Buffer.from("k"), value: Buffer.alloc(10_000, 1) });
  for (let index = 0; index < 10; index++) await client.call(methods.put, put);
  await server.member.kill("SIGKILL");
  const [file, log] = [join(server.dataDirectory, "store.db"), join(server.dataDirectory, "store.db-wal")];
  const [database, frames] = [await readFile(file), await readFile(log)];
  const damaged = (at: number) => Buffer.from(frames).fill(7, at, at + 8);
  const cases: readonly [Buffer | undefined, Buffer | undefined, string][] = [
    [Buffer.alloc(0), frames, `${file} is empty, which a store never leaves behind`],
    [Buffer.alloc(0), undefined, `${file} is empty, which a store never leaves behind`],
    [undefined, frames, `${file} is missing, but its log ${log} is there`],
    [database, damaged(16), `the log ${log}, which holds the last writes, is damaged`],
    [database, damaged(Math.floor(frames.length / 4)), `the log ${log}, which holds the last writes, is damaged`],
    [database, Buffer.alloc(frames.length), `the log ${log}, which holds the last writes, is damaged`],
  ];
  for (const [present, left, text] of cases) {
    for (const [path, content] of [
      [file, present],
      [log, left],
    ] as const) {
      await rm(path, { force: true });
      if (content !== undefined) await writeFile(path, content);
    }
    const said = await ends("--data-dir", server.dataDirectory);
    expect(said).toContain(`1 flannel-store: cannot open the store in ${server.dataDirectory}: ${text}: `);
    expect(said).toMatch(/move \S+ away to go on .* flannelctl store import --keep-leases\n$/);
    if (left !== undefined) expect((await readFile(log)).equals(left)).toBe(true);
  }
  await writeFile(file, database);
  await writeFile(log, frames.subarray(0, frames.length - 5_000));
  server.member.start();
  await server.member.healthy();
  const { kvs } = await client.call(methods.range, RangeRequest.fromPartial({ key: Buffer.from("k") }));
  expect(kvs[0]?.version).toBe(9n);
});

test("directories and addresses that cannot be used: exit code and a sentence", async () => {
  expect(await ends("--data-dir", "/proc/nothing")).toMatch(/^1 flannel-store: cannot use \/proc\/nothing: ENOENT/);
  expect(await ends("--data-dir", "/dev/null")).toMatch(/^1 flannel-store: cannot use \/dev\/null: EEXIST/);
  expect(await ends("--data-dir", "/sys/kernel")).toMatch(/^1 flannel-store: cannot use \/sys\/kernel: /);
  expect(await ends("--data-dir", "")).toMatch(/^2 flannel-store: --data-dir must not be empty/);
  const data = ["--data-dir", join(directory, "unused")];
  expect(await ends(...data, "--listen", "nobody.invalid:2379", "--insecure")).toMatch(
    /^1 flannel-store: cannot listen on nobody\.invalid: /,
  );
  const file = join(directory, "no-certificate");
  await writeFile(file, "nothing");
  expect(await ends(...data, "--tls-cert", file, "--tls-key", file)).toMatch(
    /^1 flannel-store: --tls-cert and --tls-key cannot be used: /,
  );
});
