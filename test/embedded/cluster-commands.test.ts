// `flannelctl token` and `flannelctl host` on the store's host, against the real store; and that init and join are alone.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import {
  hostListOutputSchema,
  hostRemoveOutputSchema,
  tokenCreateOutputSchema,
  tokenListOutputSchema,
} from "../../src/cli/flannelctl/session/json-output.ts";
import { clusterFiles } from "../../src/flannel-store/membership/cluster-files.ts";
import { FileLock } from "../../src/sys/file-lock.ts";
import { never } from "../etcd/fixture.ts";
import { type CliResult, flannelctl, TemporaryDirectory } from "../support/flannelctl.ts";
import { ClusterWorld } from "./cluster-world.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { SmallDisk } from "./small-disk.ts";

const on =
  (world: ClusterWorld) =>
  (line: string, nowMs?: number): Promise<CliResult> =>
    flannelctl(["--root", world.root(), ...line.split(" ")], nowMs === undefined ? {} : { nowMs: () => nowMs });

test("token create prints the command to join with, and its token works", async () => {
  await using world = await ClusterWorld.start();
  const control = on(world);
  const created = await control("token create --ttl 30m");
  expect(created).toMatchObject({ exitCode: 0, stderr: "" });
  const [, address, token = ""] = /join (127\.0\.0\.1:\d+) --token (\S+)$/m.exec(created.stdout) ?? [];
  expect(created.stdout).toContain("within 30 min");
  expect(`https://${address}`).toBe(world.server.endpoints);
  await world.join(world.newHost("h1"), token);

  const json = tokenCreateOutputSchema.parse(JSON.parse((await control("--json token create")).stdout));
  expect(json.joinCommand.slice(1)).toEqual(["join", address, "--token", json.token]);
  expect(Math.round((Date.parse(json.expiresAt) - Date.now()) / 60_000)).toBe(24 * 60);
  await world.join(world.newHost("h2"), json.token);
});

test("token list shows what became of each, revoke ends one, and neither shows a secret", async () => {
  await using world = await ClusterWorld.start();
  const control = on(world);
  expect((await control("token list")).stdout).toBe("no tokens\n");
  const texts = [await world.token(), await world.token(), await world.token(), await world.token(1)];
  const [used = "", revoked = "", unused = "", short = ""] = texts.map((text) => text.slice(0, 8));
  await world.join(world.newHost("h1"), texts[0] ?? "");
  // A whole token is taken for its id.
  const revocation = await control(`token revoke ${texts[1]}`);
  expect(revocation).toEqual({
    exitCode: 0,
    stdout: `token ${revoked} is revoked: no host can join with it\n`,
    stderr: "",
  });
  const ended = await control(`--json token revoke ${revoked}`);
  expect(JSON.parse(ended.stdout)).toEqual({ version: 1, id: revoked });
  const list = await control("token list", Date.now() + 10_000);
  expect(list.stdout.split("\n").map((line) => line.split(/ {2,}/).slice(0, 3))).toEqual([
    ["TOKEN", "STATE", "USED BY"],
    [used, "used", "h1"],
    [revoked, "revoked"],
    [unused, "unused", expect.any(String)],
    [short, "expired"],
    [""],
  ]);
  const json = tokenListOutputSchema.parse(JSON.parse((await control("--json token list")).stdout));
  expect(json.tokens[0]).toMatchObject({ state: "used", usedBy: "h1", usedAt: expect.any(String) });
  for (const text of texts) {
    for (const shown of [list.stdout, JSON.stringify(json)]) expect(shown).not.toContain(text.split(".")[1]);
  }
  expect(await control("token revoke abcd2345")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("there is no token abcd2345"),
  });
  expect((await control("token create --ttl 31d")).exitCode).toBe(2);
});

test("host list and host remove", async () => {
  await using world = await ClusterWorld.start();
  const control = on(world);
  expect((await control("host list")).stdout).toBe("no hosts\n");
  const host = await world.joined("h1");
  await host.control("lease", "grant", "60");
  const [, row = ""] = (await control("host list")).stdout.split("\n");
  expect(row.split(/ {2,}/)).toEqual(["h1", "no", "127.0.0.1", expect.stringMatching(/^in 36[45] d/)]);
  const listed = hostListOutputSchema.parse(JSON.parse((await control("--json host list")).stdout));
  expect(listed.hosts).toMatchObject([{ name: "h1", connected: false, addresses: ["127.0.0.1"] }]);
  expect((await control("host list", Date.now() + 400 * 86_400_000)).stdout).toContain("expired");

  const lease = '{"PublicIP":"127.0.0.1"}';
  await world.control("put", "/coreos.com/network/subnets/10.5.7.0-24", lease);
  const removed = hostRemoveOutputSchema.parse(JSON.parse((await control("--json host remove h1")).stdout));
  expect(removed).toEqual({ name: "h1", releasedLeases: ["10.5.7.0-24"], sharedAddresses: [] });
  expect(await control("host remove h1")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("there is no host h1 in this cluster"),
  });
  const again = await world.joined("h2");
  expect(again.name).toBe("h2");
  expect((await control("host remove h2")).stdout).toMatch(
    /^removed h2 from the cluster: .*\nno lease announces an address from which it connected/,
  );
});

test("on a full disk a host is removed wholly or in steps, and the store ends what was begun", async () => {
  using directory = new TemporaryDirectory();
  await using disk = await SmallDisk.make(directory.path, "small");
  await using world = await ClusterWorld.start({ disk });
  const control = on(world);
  const [h1, h2] = [await world.joined("h1"), await world.joined("h2")];
  const members = clusterFiles(world.clusterDirectory).members;
  const subnets = "/coreos.com/network/subnets";
  // All of them call from 127.0.0.1, so what they announce has to be told apart by hand.
  const registry = JSON.parse(readFileSync(members, "utf8"));
  for (const host of registry.hosts) host.addresses = [`192.0.2.${host.name.slice(1)}`];
  await world.server.member.kill("SIGTERM");
  writeFileSync(members, JSON.stringify(registry));
  world.server.member.start();
  await world.server.member.healthy();
  for (const number of [1, 2])
    await world.control("put", `${subnets}/10.5.${number}.0-24`, `{"PublicIP":"192.0.2.${number}"}`);
  const leases = () => h2.control("get", "--prefix", "--keys-only", subnets);
  const listed = async () => hostListOutputSchema.parse(JSON.parse((await control("--json host list")).stdout)).hosts;

  await disk.fill("filler");
  const refused = await control("host remove h1");
  expect(refused).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/cannot write \S+members\.json: ENOSPC/),
  });
  expect((await listed()).map(({ name, leaving }) => [name, leaving])).toEqual([
    ["h1", false],
    ["h2", false],
  ]);
  expect(await h1.control("get", "key")).toBe("");

  // Room for the list of members, and for nothing else.
  await disk.freePage("filler");
  const stillThere = "host h1 is no member any more and is cut off, but its leases are still in the store";
  for (const _ of [1, 2]) {
    expect(await control("host remove h1")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(stillThere) });
  }
  await expect(h1.control("get", "key")).rejects.toThrow("does not belong to a present member");
  expect((await listed()).map(({ name, leaving }) => [name, leaving])).toEqual([
    ["h2", false],
    ["h1", true],
  ]);
  expect((await control("host list")).stdout).toMatch(/^h1 +leaving +\S+ +revoked$/m);
  expect(await leases()).toContain("10.5.1.0-24");

  // It goes on at the start, as soon as there is room.
  await world.server.member.restart();
  const log = () => world.server.member.log();
  await until(() => log().includes("the leases of removed host h1 cannot be deleted yet"), { what: "it to be told" });
  rmSync(disk.path("filler"));
  await world.server.member.restart();
  await until(async () => !(await leases()).includes("10.5.1.0-24"), { what: "the lease to go" });
  expect(await leases()).toContain("10.5.2.0-24");
  expect(await control("host remove h1")).toMatchObject({ stderr: expect.stringContaining("there is no host h1") });
  expect(JSON.parse(readFileSync(members, "utf8"))).not.toHaveProperty("leaving");

  // A host that leaves need not wait for that.
  await disk.fill("filler");
  await disk.freePage("filler");
  expect(await h2.client.leave(never)).toMatchObject({
    leases: [],
    pendingReason: "etcdserver: mvcc: database space exceeded",
  });
  rmSync(disk.path("filler"));
  expect((await control("host remove h2")).stdout).toContain("1 lease deleted: 10.5.2.0-24");
  expect(await listed()).toEqual([]);
});

test("elsewhere, and while the store is down: a sentence", async () => {
  using elsewhere = new TemporaryDirectory();
  const nowhere = await flannelctl(["--root", elsewhere.path, "host", "list"]);
  expect(nowhere.exitCode).toBe(2);
  expect(nowhere.stderr).toContain("run this command as root on the host that runs the store of a cluster");
  await using world = await ClusterWorld.start();
  const control = on(world);
  await world.server.member.kill();
  const down = await control("host list");
  expect(down.exitCode).toBe(1);
  expect(down.stderr).toMatch(
    /list the hosts: the store at https:\/\/127\.0\.0\.1:\d+ cannot be reached: connect ECONNREFUSED/,
  );
  rmSync(clusterFiles(world.clusterDirectory).adminKey);
  expect((await control("host list")).stderr).toContain("admin-key.pem");
});

test("while one command makes this host a member, another one is refused", async () => {
  using host = new TemporaryDirectory();
  const control = (...words: string[]) => flannelctl(["--root", host.path, ...words, "--no-systemd"]);
  mkdirSync(join(host.path, "run/flannel"), { recursive: true });
  const path = join(host.path, "run/flannel/membership.lock");
  const other = FileLock.acquire(path);
  for (const words of [["init"], ["join", "192.0.2.1:2379", "--token", "x"]]) {
    expect(await control(...words)).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`another flannelctl (pid ${process.pid}) is changing this host's membership`),
    });
  }
  other[Symbol.dispose]();
  expect(await control("init", "--json")).toMatchObject({ exitCode: 0 });
  expect(existsSync(path)).toBe(false);
});

test("init that was ended half-way goes on from there: another port, another name", async () => {
  using host = new TemporaryDirectory();
  const init = (...words: string[]) => flannelctl(["--root", host.path, "init", "--no-systemd", ...words]);
  expect(await init("--name", "a", "--port", "23790")).toMatchObject({ exitCode: 0 });
  const file = join(host.path, "etc/flannel/flanneld.env");
  const before = readFileSync(file, "utf8");
  expect(await init("--port", "23791")).toMatchObject({ exitCode: 0 });
  expect(readFileSync(file, "utf8")).toContain("https://127.0.0.1:23791\n");
  // The list of members has the new port, this file has not.
  writeFileSync(file, before);
  expect(await init("--port", "23791")).toMatchObject({ exitCode: 0 });
  expect(readFileSync(file, "utf8")).toContain("https://127.0.0.1:23791\n");
  expect(await init("--port", "23791")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("already runs the store of a cluster"),
  });
  // Admitted, and not told to the agent.
  rmSync(file);
  expect(await init("--name", "b", "--port", "23791")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("an earlier init admitted this host as a: repeat the command with --name a"),
  });
  expect(await init("--name", "a", "--port", "23791")).toMatchObject({ exitCode: 0 });
});

test("a store goes on whatever signals it gets, and when nobody takes what it says", async () => {
  await using world = await ClusterWorld.start({ wrapper: ["sh", "-c", 'exec "$@" 2>/dev/full', "sh"] });
  const host = await world.joined("h1");
  rmSync(clusterFiles(world.clusterDirectory).serverCertificate);
  for (const signal of ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE"] as const) {
    world.server.member.signal(signal);
    expect(await host.control("get", "key")).toBe("");
  }
});

test("a token that cannot be told is not made", async () => {
  await using world = await ClusterWorld.start();
  rmSync(clusterFiles(world.clusterDirectory).serverCertificate);
  expect(await on(world)("token create")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("server.pem") });
  expect(await world.administrator.listTokens(never)).toEqual([]);
});

test("join under a wrong clock says so, and by a wrong name, port or program what to look at", async () => {
  await using world = await ClusterWorld.start();
  using directory = new TemporaryDirectory();
  const address = world.server.endpoints.replace("https://", "");
  const joinAs = (name: string, to: string, token: string, nowMs = Date.now()) => {
    const argv = ["--root", join(directory.path, name), "join", to, "--name", name, "--token", token, "--no-systemd"];
    return flannelctl(argv, { nowMs: () => nowMs });
  };
  const behind = await joinAs("h1", address, await world.token(), Date.now() - 400 * 86_400_000);
  expect(behind).toMatchObject({
    exitCode: 0,
    stderr: expect.stringMatching(/clock of this host, .* is not valid before/),
  });
  const ahead = await joinAs("h2", address, await world.token(), Date.now() + 7_300 * 86_400_000);
  expect(ahead).toMatchObject({
    exitCode: 0,
    stderr: expect.stringMatching(/clock of this host, .* is not valid after/),
  });
  expect((await joinAs("h3", address, await world.token())).stderr).not.toContain("clock");

  const token = await world.token();
  expect((await joinAs("h4", "no.such.host.invalid", token)).stderr).toContain("Check the name, and the name servers");
  expect((await joinAs("h4", "127.0.0.1:1", token)).stderr).toContain("Check that flannel-store runs there");
  await using plain = await EmbeddedServer.start({ inMemory: true });
  const other = await joinAs("h4", plain.endpoints.replace("http://", ""), token);
  expect(other).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("Another program, or a flannel-store") });
});
