// `flannelctl store import --etcd-v2-endpoints`: a network of flannel v0.7 out of the v2 API of a real etcd 3.4, into etcd's v3
// keys and into the embedded store.
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { prefix } from "../etcd/fixture.ts";
import { Pki } from "../etcd/pki.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { parseOutput } from "../support/output-schema.ts";
import { EmbeddedServer } from "./embedded-server.ts";

const LEASES = 200;
const v2Prefix = "/old/network";
const config = '{ "Network": "10.4.0.0/14", "SubnetLen": 24, "Backend": { "Type": "vxlan" } }';
const names = Array.from({ length: LEASES }, (_, index) => `10.5.${index}.0-24`);
const reserved = (index: number) => index % 10 === 0;
const leaseValue = (index: number) =>
  `{"PublicIP":"192.168.1.${index + 1}","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:${(index + 16).toString(16).padStart(2, "0")}"}}`;

const stack = new AsyncDisposableStack();
let old: EtcdServer;
let etcd: EtcdServer;
let embedded: EmbeddedServer;

async function put(key: string, value: string, ttl?: number): Promise<void> {
  const body = new URLSearchParams({ value, ...(ttl !== undefined && { ttl: String(ttl) }) });
  const answer = await fetch(`${old.endpoints}/v2/keys${key}`, { method: "PUT", body });
  if (!answer.ok) throw new Error(await answer.text());
}

function ctl(server: { readonly endpoints: string }, ...argv: readonly string[]) {
  return flannelctl(["--etcd-endpoints", server.endpoints, "--etcd-prefix", prefix, "store", ...argv]);
}

const importInto = (server: { readonly endpoints: string }, ...argv: readonly string[]) =>
  ctl(
    server,
    "import",
    "--etcd-v2-endpoints",
    `http://127.0.0.1:1,${old.endpoints}`,
    "--etcd-v2-prefix",
    `${v2Prefix}/`,
    ...argv,
  );

interface Exported {
  readonly leases: readonly { readonly id: string; readonly ttlSeconds: number }[];
  readonly keys: readonly { readonly key: string; readonly value: string; readonly lease?: string }[];
}

async function contents(server: { readonly endpoints: string }): Promise<Exported> {
  return JSON.parse((await ctl(server, "export")).stdout) as Exported;
}

beforeAll(async () => {
  [old, etcd] = await Promise.all([EtcdServer.start({ extraArguments: ["--enable-v2=true"] }), EtcdServer.start()]);
  stack.use(old);
  stack.use(etcd);
  embedded = stack.use(await EmbeddedServer.start({ inMemory: true }));
  await put(`${v2Prefix}/config`, config);
  await Promise.all(
    names.map((name, index) =>
      put(`${v2Prefix}/subnets/${name}`, leaseValue(index), reserved(index) ? undefined : 40_000 + index),
    ),
  );
  await put(`${v2Prefix}/subnets/backup`, "{}");
  await put(`${v2Prefix}/subnets/10.9.0.0-24`, leaseValue(1));
  await put(`${v2Prefix}/subnets/10.5.250.0-24`, "no lease \u001b[31m");
  await put("/other/config", "x");
});

afterAll(() => stack.disposeAsync());

test.each(["etcd", "embedded"])(
  "config, leases with what is left of them and reservations come into %s, twice without harm",
  async (kind) => {
    const target = kind === "etcd" ? etcd : embedded;
    const dry = await importInto(target, "--dry-run", "--json");
    expect(parseOutput("store import", dry.stdout)).toMatchObject({ dryRun: { conflicts: [] } });
    expect((await ctl(target, "export")).exitCode).toBe(1);

    const first = await importInto(target);
    expect(first).toMatchObject({ exitCode: 0, stderr: "" });
    expect(first.stdout).toContain("imported 201 keys with 180 leases\n");
    expect(first.stdout).toContain("left out 10.9.0.0-24: 10.9.0.0/24 is not between 10.4.1.0 and 10.7.255.0\n");
    expect(first.stdout).toContain(`left out ${v2Prefix}/subnets/backup: is not the name of a subnet\n`);
    expect(first.stdout).not.toContain("\u001b");

    const { keys, leases } = await contents(target);
    const values = Object.fromEntries(keys.map(({ key, value }) => [key, value]));
    expect(values).toEqual({
      [`${prefix}/config`]: config,
      ...Object.fromEntries(names.map((name, index) => [`${prefix}/subnets/${name}`, leaseValue(index)])),
    });
    const ttls = new Map(leases.map(({ id, ttlSeconds }) => [id, ttlSeconds]));
    for (const [index, name] of names.entries()) {
      const { lease } = keys.find(({ key }) => key.endsWith(`/${name}`)) ?? {};
      const ttl = lease === undefined ? undefined : ttls.get(lease);
      if (reserved(index)) expect(lease).toBeUndefined();
      else {
        expect(ttl).toBeGreaterThan(39_000 + index);
        expect(ttl).toBeLessThanOrEqual(40_000 + index);
      }
    }

    expect(await importInto(target)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await contents(target)).toMatchObject({ keys, leases: expect.arrayContaining([...leases]) });
    const listed = await flannelctl([
      "--etcd-endpoints",
      target.endpoints,
      "--etcd-prefix",
      prefix,
      "lease",
      "list",
      "--json",
    ]);
    expect((JSON.parse(listed.stdout) as { leases: unknown[] }).leases).toHaveLength(LEASES);
  },
);

test("another value in the store is told before, and stops the import", async () => {
  await using other = await EtcdServer.start();
  await other.control("put", `${prefix}/config`, "theirs");
  const dry = await importInto(other, "--dry-run");
  expect(dry.exitCode).toBe(1);
  expect(dry.stdout).toContain(`the store has another value at ${prefix}/config\n`);
  expect(dry.stdout).toContain(`would write ${prefix}/subnets/10.5.1.0-24\n`);
  const refused = await importInto(other);
  expect(refused.exitCode).toBe(1);
  expect(refused.stderr).toContain(`the store already has another value at ${prefix}/config`);
  expect(await other.control("get", "--prefix", "--keys-only", prefix)).toBe(`${prefix}/config\n\n`);
});

test("what stands in the way is named", async () => {
  const from = (endpoints: string, ...more: readonly string[]) =>
    ctl(etcd, "import", "--etcd-v2-endpoints", endpoints, ...more);
  expect((await from(old.endpoints)).stderr).toContain(`etcd has no v2 key ${prefix}/config: check --etcd-v2-prefix`);
  expect((await from(etcd.endpoints)).stderr).toContain(
    "that etcd serves no v2 API: etcd 3.4 and 3.5 do with --enable-v2=true",
  );
  expect((await from("http://127.0.0.1:1")).stderr).toMatch(
    /no endpoint of --etcd-v2-endpoints answers: http:\/\/127\.0\.0\.1:1 does not answer/,
  );
  expect((await from(old.endpoints, "--etcd-v2-prefix", "/other")).stderr).toMatch(/network config: .*JSON/);
  expect((await ctl(etcd, "import")).exitCode).toBe(2);
  expect((await ctl(etcd, "import", "-", "--etcd-v2-endpoints", "http://x")).exitCode).toBe(2);
  expect((await ctl(etcd, "import", "-", "--etcd-v2-prefix", "/x")).stderr).toContain(
    "--etcd-v2-prefix needs --etcd-v2-endpoints",
  );
  for (const endpoints of ["", "ftp://x", "http://user:secret@x", "http://x/path", "x"]) {
    const refused = await from(endpoints);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).not.toContain("secret");
  }
  expect((await from("http://x", "--etcd-v2-certfile", "/nowhere")).stderr).toContain("belong together");
  expect((await from("http://x", "--etcd-v2-cafile", "/nowhere")).stderr).toContain(
    "--etcd-v2-cafile: cannot read /nowhere",
  );
});

test("over TLS with a client certificate, and with a user", async () => {
  await using pki = await Pki.create();
  await using secure = await EtcdServer.start({ pki, clientCertAuth: true, extraArguments: ["--enable-v2=true"] });
  const password = pki.file("password");
  await writeFile(password, "geheim\n", { mode: 0o600 });
  const flags = ["--etcd-v2-cafile", pki.ca, "--etcd-v2-certfile", pki.clientCert, "--etcd-v2-keyfile", pki.clientKey];
  const user = ["--etcd-v2-username", "root", "--etcd-v2-password-file", password];
  const missing = await ctl(etcd, "import", "--etcd-v2-endpoints", secure.endpoints, ...flags, ...user);
  expect(missing.stderr).toContain("etcd has no v2 key");
  const untrusted = await ctl(etcd, "import", "--etcd-v2-endpoints", secure.endpoints);
  expect(untrusted.stderr).toContain("does not answer");
});

test("of an etcd that wants a user and a password", async () => {
  await using guarded = await EtcdServer.start({ extraArguments: ["--enable-v2=true"] });
  const send = async (path: string, method: string, body: unknown, headers: Record<string, string> = {}) => {
    const type = typeof body === "string" ? "application/x-www-form-urlencoded" : "application/json";
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const answer = await fetch(guarded.endpoints + path, {
      method,
      body: text,
      headers: { "content-type": type, ...headers },
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  };
  await send(`/v2/keys${v2Prefix}/config`, "PUT", new URLSearchParams({ value: config }).toString());
  await send(
    `/v2/keys${v2Prefix}/subnets/10.5.1.0-24`,
    "PUT",
    new URLSearchParams({ value: leaseValue(1), ttl: "40000" }).toString(),
  );
  await send("/v2/auth/users/root", "PUT", { user: "root", password: "geheim-1" });
  await send("/v2/auth/enable", "PUT", {});
  const authorization = `Basic ${Buffer.from("root:geheim-1").toString("base64")}`;
  await send(
    "/v2/auth/roles/guest",
    "PUT",
    { role: "guest", revoke: { kv: { read: ["/*"], write: ["/*"] } } },
    { authorization },
  );
  await using pki = await Pki.create();
  const file = pki.file("password");
  const from = async (password: string) => {
    await writeFile(file, password, { mode: 0o600 });
    const user = ["--etcd-v2-username", "root", "--etcd-v2-password-file", file];
    return ctl(
      embedded,
      "import",
      "--dry-run",
      "--etcd-v2-endpoints",
      guarded.endpoints,
      "--etcd-v2-prefix",
      v2Prefix,
      ...user,
    );
  };
  expect(await from("geheim-1\n")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining(" of 2 keys "),
  });
  const refused = "etcd does not let us read the v2 key /old/network: check --etcd-v2-username and its password";
  expect(await from("geheim-2")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(refused) });
  const none = await ctl(embedded, "import", "--etcd-v2-endpoints", guarded.endpoints, "--etcd-v2-prefix", v2Prefix);
  expect(none).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(refused) });
});
