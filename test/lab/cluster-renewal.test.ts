// The certificates of a small cluster over the years, on a clock that is set: renewed in time, warned about where nobody
// renews them, and what becomes of a host that slept through it.
import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLan, type Lan } from "../../lab/lan.ts";
import { MemberHost } from "../../lab/member-host.ts";
import { FakeClock } from "../support/fake-clock.ts";

const dayMs = 86_400_000;

let lan: Lan;
let clock: FakeClock;
let h1: MemberHost;
let h2: MemberHost;

beforeEach(async () => {
  lan = await createLan({ hosts: 2 });
  clock = await FakeClock.create();
  [h1, h2] = [new MemberHost(lan.host(1), clock.env), new MemberHost(lan.host(2), clock.env)];
  const joinCommand = await h1.init();
  await h1.startStore();
  await h2.join(joinCommand);
});

afterEach(async () => {
  for (const host of [h2, h1]) await host[Symbol.asyncDispose]();
  await lan[Symbol.asyncDispose]();
});

/** All processes see another day; the store is started again, as if its host had been. */
async function travelTo(day: number): Promise<void> {
  await h1.stopStore();
  await clock.set(day * dayMs);
  await h1.startStore();
}

/** The day on which a certificate ends, from the first day of the test. */
async function endOf(file: string): Promise<number> {
  const { validTo } = new X509Certificate(await readFile(file));
  return Math.round((Date.parse(validTo) - Date.now()) / dayMs);
}

const server = () => h1.file("var/lib/flannel-store/cluster/server.pem");
const own = () => h2.file("etc/flannel/host.pem");

it("they are renewed when a third of their life is left, for the same key, and the agent goes on with them", async () => {
  h2.startAgent();
  await h2.agent.untilReady();
  expect(await h2.ctl("status")).toMatch(/certificates .* expires in 364 d/);
  const { lease } = await h2.agent.status();
  const key = await readFile(h2.file("etc/flannel/host-key.pem"), "utf8");
  await h2.agent.term();
  await travelTo(300);
  h2.startAgent();
  await h2.agent.untilEvent("certificate.renewed");
  await h2.agent.untilReady();
  expect([await endOf(server()), await endOf(own())]).toEqual([665, 665]);
  expect(await h2.ctl("status")).toMatch(/certificates .* expires in 36\d d/);
  await h2.agent.term();
  // The first one has ended by now: what works is the second.
  await travelTo(500);
  h2.startAgent();
  await h2.agent.untilReady();
  expect((await h2.agent.status()).lease?.subnet).toBe(lease?.subnet);
  expect(h2.agent.events("certificate.renewed")).toEqual([]);
  expect(await readFile(h2.file("etc/flannel/host-key.pem"), "utf8")).toBe(key);
});

it("an agent that has nobody to renew its certificate warns 30 days ahead", async () => {
  await travelTo(345);
  const settings = h2.file("etc/flannel/flanneld.env");
  await writeFile(settings, (await readFile(settings, "utf8")).replace("CERT_RENEW=true", "CERT_RENEW=false"));
  h2.startAgent();
  await h2.agent.untilReady();
  expect(await h2.agent.untilEvent("certificate.ends")).toContain("expires in 19 days");
  const status = await h2.ctl("status");
  expect(status).toMatch(/certificates +our own expires in 19 d/);
  expect(status).toMatch(/warning store-tls: this host's certificate \(.*host\.pem\) expires in 19 days, on /);
  expect(status).toContain("remedy: replace the file by a new certificate, then reload flanneld (SIGHUP)");
});

it("a host that slept through it says so, and joins again with a new token, on the same lease", async () => {
  h2.startAgent();
  await h2.agent.untilReady();
  const { lease } = await h2.agent.status();
  await h2.agent.term();
  await travelTo(400);
  h2.startAgent();
  expect(await h2.agent.untilEvent("certificate.ends")).toContain("flannelctl join 192.168.50.11:2379 --token");
  const status = await h2.tryCtl("status");
  expect(status.exitCode).toBe(1);
  expect(status.stdout).toMatch(/certificates +our own expired, on /);
  expect(status.stdout).toMatch(
    /remedy: flannelctl join 192\.168\.50\.11:2379 --token TOKEN, .*flannelctl token create/,
  );
  await h2.join(await h1.createToken());
  h2.agent.signal("SIGHUP");
  await h2.agent.untilReady();
  expect((await h2.agent.status()).lease?.subnet).toBe(lease?.subnet);
  expect(await endOf(own())).toBe(765);
});

it("the CA is made anew for its key when a third of its life is left, and every host has it before the old one ends", async () => {
  const ca = h1.file("var/lib/flannel-store/cluster/ca.pem");
  const ownCa = h2.file("etc/flannel/ca.pem");
  const serverBefore = new X509Certificate(await readFile(server()));
  expect(await endOf(ca)).toBe(3_652);
  await travelTo(2_400);
  await h2.join(await h1.createToken());
  expect([await endOf(ca), await endOf(ownCa)]).toEqual([3_652, 3_652]);
  await travelTo(2_700);
  expect([await endOf(ca), await endOf(ownCa)]).toEqual([6_352, 3_652]);
  // What was signed before is good under it.
  const renewed = new X509Certificate(await readFile(ca));
  expect(serverBefore.checkIssued(renewed) && serverBefore.verify(renewed.publicKey)).toBe(true);
  // The agent, which has the old one, is served, and gets the new one with its own.
  for (const day of [2_700, 3_000, 3_300, 3_600]) {
    if (day > 2_700) await travelTo(day);
    h2.startAgent();
    await h2.agent.untilEvent("certificate.renewed");
    await h2.agent.untilReady();
    expect(await readFile(ownCa, "utf8")).toBe(await readFile(ca, "utf8"));
    await h2.agent.term();
  }
  await travelTo(3_800);
  h2.startAgent();
  await h2.agent.untilReady();
  expect(await h1.ctl("host", "list")).toContain("h2");
  expect(await endOf(own())).toBe(3_965);
});
