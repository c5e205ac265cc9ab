// Certificates of a cluster over the years, on a store process whose clock is set while it runs (libfaketime).
import { execFile } from "node:child_process";
import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2, type SecureClientSessionOptions } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { clusterFiles } from "../../src/flannel-store/membership/cluster-files.ts";
import { endsAtMs, keyPin, readCertificate } from "../../src/flannel-store/membership/keys.ts";
import { never } from "../etcd/fixture.ts";
import { faketimeLibrary } from "../support/fake-clock.ts";
import { ClusterWorld, type TestHost } from "./cluster-world.ts";

const run = promisify(execFile);
const flannelctl = join(import.meta.dirname, "../../bin/flannelctl");
const DAY_MS = 86_400_000;

/** The clock of the processes that are started with `env`, monotonic time included: their timers fire when it jumps. */
class Clock implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "flannel-clock-"));
  readonly env: readonly string[];

  constructor() {
    this.env = [`LD_PRELOAD=${faketimeLibrary()}`, `FAKETIME_TIMESTAMP_FILE=${this.#file}`, "FAKETIME_NO_CACHE=1"];
    this.set(0);
  }

  get #file(): string {
    return join(this.#directory, "clock");
  }

  set(days: number): void {
    writeFileSync(this.#file, `${days < 0 ? "" : "+"}${days}d\n`);
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true });
  }
}

function startWorld(clock: Clock): Promise<ClusterWorld> {
  return ClusterWorld.start({ wrapper: ["env", ...clock.env] });
}

/** What the store shows to a new connection. */
async function shown({ address }: ClusterWorld): Promise<X509Certificate> {
  const { host, port } = address;
  const socket = connectTls({ host, port, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
  await once(socket, "secureConnect");
  const certificate = socket.getPeerX509Certificate();
  socket.destroy();
  if (certificate === undefined) throw new Error("no certificate");
  return certificate;
}

function ownTexts({ clusterDirectory }: ClusterWorld): string[] {
  const { caCertificate, serverCertificate, adminCertificate } = clusterFiles(clusterDirectory);
  return [caCertificate, serverCertificate, adminCertificate].map((file) => readFileSync(file, "utf8"));
}

/** As if its host had booted with that clock. */
async function restartOn({ server }: ClusterWorld, clock: Clock, days: number): Promise<void> {
  await server.member.kill();
  clock.set(days);
  server.member.start();
  await server.member.healthy();
}

/** Runs flannelctl on the store's host, by its clock. */
async function control(world: ClusterWorld, clock: Clock, ...words: readonly string[]): Promise<string> {
  const argv = [...clock.env, flannelctl, "--root", world.root(), ...words];
  return (await run("env", argv)).stdout;
}

/** A connection of a host that does not look at the store's certificate: its clock is another one. */
async function connectionOf({ endpoints, files }: TestHost): Promise<ClientHttp2Session> {
  const [cert, key] = [readFileSync(files.certFile), readFileSync(files.keyFile)];
  const options: SecureClientSessionOptions = { cert, key, rejectUnauthorized: false };
  const session = connectHttp2(endpoints, options).on("error", () => undefined);
  await once(session, "connect");
  return session;
}

/** The status message of an empty Range. */
async function refusalOn(session: ClientHttp2Session): Promise<string | undefined> {
  const headers = { ":method": "POST", ":path": "/etcdserverpb.KV/Range", "content-type": "application/grpc" };
  const stream = session.request(headers);
  const [answer] = (await once(stream.end(Buffer.from([0, 0, 0, 0, 0])), "response")) as [Record<string, string>];
  stream.resume();
  return answer["grpc-message"];
}

test("the store renews its own certificates while it runs, and shows the new one to the next", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const { adminCertificate, adminKey } = clusterFiles(world.clusterDirectory);
  const [before, adminBefore, adminKeyBefore] = [
    await shown(world),
    readFileSync(adminCertificate, "utf8"),
    readFileSync(adminKey, "utf8"),
  ];
  expect(Math.round((endsAtMs(before) - Date.now()) / DAY_MS)).toBe(365);

  // With more than a third of its life left nothing happens, however often it is looked at.
  clock.set(240);
  await control(world, clock, "host", "list");
  expect((await shown(world)).serialNumber).toBe(before.serialNumber);

  clock.set(250);
  const after = await until(
    async () => {
      const certificate = await shown(world);
      return certificate.serialNumber === before.serialNumber ? undefined : certificate;
    },
    { what: "another certificate" },
  );
  expect(keyPin(after.publicKey)).toBe(keyPin(before.publicKey));
  expect(after.subjectAltName).toBe(before.subjectAltName);
  expect(Math.round((endsAtMs(after) - Date.now()) / DAY_MS)).toBe(250 + 365);
  const adminAfter = readFileSync(adminCertificate, "utf8");
  expect(adminAfter).not.toBe(adminBefore);
  expect(readFileSync(adminKey, "utf8")).toBe(adminKeyBefore);
  expect(readCertificate(adminAfter, "admin.pem").validToDate.getTime()).toBe(endsAtMs(after));
  // The administrator is let in with the new one, and what hosts pinned is still there.
  const created = JSON.parse(await control(world, clock, "--json", "token", "create"));
  await world.join(world.newHost("h1"), created.token);
  expect(await control(world, clock, "host", "list")).toMatch(/^h1 .* in 36[45] d/m);
});

test("the store makes its CA anew while it runs, signs with it, and lets in hosts with it", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const { caCertificate } = clusterFiles(world.clusterDirectory);
  const ca = () => readCertificate(readFileSync(caCertificate, "utf8"), "ca.pem");
  const before = ca();
  // So that the store has the old one open.
  await world.joined("h1");
  const renewedOn = async (day: number) => {
    clock.set(day);
    await until(async () => Math.round((endsAtMs(await shown(world)) - Date.now()) / DAY_MS) === day + 365, {
      what: `the store's certificate to be made on day ${day} for a year`,
    });
  };
  // On this day the old one's end would be the end of the store's certificate too.
  await renewedOn(3_300);
  const after = ca();
  expect(Math.round((endsAtMs(after) - Date.now()) / DAY_MS)).toBe(3_300 + 3_652);
  expect(after.publicKey.equals(before.publicKey)).toBe(true);
  await renewedOn(3_600);
  const created = JSON.parse(await control(world, clock, "--json", "token", "create"));
  const host = await world.join(world.newHost("h2"), created.token);
  expect(readFileSync(host.files.caFile, "utf8")).toBe(readFileSync(caCertificate, "utf8"));
  const session = await connectionOf(host);
  expect(await refusalOn(session)).toContain("key is not provided");
  session.destroy();
});

test("after a long pause, when all timers are due at once, connections have ended and the store has not", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const { host, port } = world.address;
  const strangers = await Promise.all(
    Array.from({ length: 5 }, async () => {
      const session = connectHttp2(`https://${host}:${port}`, { rejectUnauthorized: false });
      session.on("error", () => undefined);
      await once(session, "remoteSettings");
      return session;
    }),
  );
  clock.set(1);
  await until(() => strangers.every(({ closed, destroyed }) => closed || destroyed), { what: "the strangers to go" });
  expect(await control(world, clock, "host", "list")).toBe("no hosts\n");
});

test("one that was off for long renews when it starts", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const before = await shown(world);
  await world.server.member.kill();
  clock.set(500);
  world.server.member.start();
  await world.server.member.healthy();
  const after = await shown(world);
  expect(after.serialNumber).not.toBe(before.serialNumber);
  expect(keyPin(after.publicKey)).toBe(keyPin(before.publicKey));
  expect(await control(world, clock, "host", "list")).toBe("no hosts\n");
});

test("what was made while the clock was ahead goes when it is right, and what was there before comes back", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const [pin, before] = [keyPin((await shown(world)).publicKey), ownTexts(world)];
  const host = await world.joined("h1");
  await restartOn(world, clock, 4_000);
  const wrong = await shown(world);
  expect((wrong.validFromDate.getTime() - Date.now()) / DAY_MS).toBeCloseTo(4_000, 0);
  expect(keyPin(wrong.publicKey)).toBe(pin);
  await restartOn(world, clock, 0);
  expect(ownTexts(world)).toEqual(before);
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
});

test("with a clock that is early it keeps what it has, says so once, and goes on when the clock is right", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const before = ownTexts(world);
  const host = await world.joined("h1");
  await restartOn(world, clock, -9_000);
  expect(ownTexts(world)).toEqual(before);
  const session = await connectionOf(host);
  expect(await refusalOn(session)).toContain("the certificate is not valid yet: correct that clock");
  session.destroy();
  clock.set(-8_999);
  await until(() => world.server.member.log().includes("ca.pem is not valid before"), { what: "the warning" });
  clock.set(0);
  await until(async () => (await host.control("get", "key").catch(() => "failed")) === "", { what: "its call" });
  expect(ownTexts(world)).toEqual(before);
  expect(world.server.member.log().match(/ca\.pem is not valid before/g)).toHaveLength(1);
});

test("a host whose certificate has ended is told what to do, on old connections too, and joins again by its key", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const host = await world.joined("h1");
  const old = await connectionOf(host);
  expect(await refusalOn(old)).toContain("key is not provided");
  clock.set(400);
  await until(async () => endsAtMs(await shown(world)) > Date.now() + 700 * DAY_MS, {
    what: "the store's own to be renewed",
  });
  const fresh = await connectionOf(host);
  const advice = "flannel-store: the certificate has expired: run flannelctl join with a new token";
  expect(await refusalOn(fresh)).toBe(advice);
  fresh.destroy();
  expect(await refusalOn(old)).toBe(advice);
  old.destroy();

  const created = JSON.parse(await control(world, clock, "--json", "token", "create"));
  await world.join(host, created.token);
  const again = await connectionOf(host);
  expect(await refusalOn(again)).toContain("key is not provided");
  again.destroy();
  const hosts = JSON.parse(await control(world, clock, "--json", "host", "list")).hosts;
  expect(hosts).toHaveLength(1);
  expect(Date.parse(hosts[0].certificateEndsAt)).toBeGreaterThan(Date.now() + 700 * DAY_MS);
});

test("a CA key that is kept elsewhere is missed only when it is needed", async () => {
  using clock = new Clock();
  await using world = await startWorld(clock);
  const { caKey } = clusterFiles(world.clusterDirectory);
  const host = await world.joined("h1");
  rmSync(caKey);
  await world.server.member.restart();
  expect(await host.control("lease", "grant", "60")).toContain("granted with TTL(60s)");
  await expect(host.client.renew(never)).rejects.toThrow(`there is no ${caKey}`);
  clock.set(250);
  await until(
    async () => {
      await shown(world);
      return world.server.member.log().includes("the store's certificates cannot be renewed");
    },
    { what: "the store to say so" },
  );
  expect(await shown(world)).toBeDefined();
});
