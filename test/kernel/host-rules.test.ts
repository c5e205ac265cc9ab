// Policy rules of ours against the real kernel: added, repaired, adopted, removed, those of others left alone.
import { afterEach, beforeEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { emptyHostState, hostStateLines } from "../../src/host/kinds/host-state.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const prune = { prune: true };
const to = parsePrefix("10.5.0.0/16");
const marked = { from: to, to: parsePrefix("10.5.3.7/32"), fwmark: 0x10, fwmask: 0xff };
const state = {
  rule: [
    { family: 4, priority: 100, to, table: 254 },
    { family: 4, priority: 101, ...marked, table: 300, suppressPrefixLength: 0 },
    { family: 4, priority: 102, fwmark: 7, isInverted: true, incomingDevice: "eth7", table: 253 },
    { family: 6, priority: 100, to: parsePrefix("fd00:10::/48"), outgoingDevice: "lo", table: 254 },
  ],
} as const;
const all4 = [
  "100: from all to 10.5.0.0/16 lookup main proto 241",
  "101: from 10.5.0.0/16 to 10.5.3.7 fwmark 0x10/0xff lookup 300 suppress_prefixlength 0 proto 241",
  "102: not from all fwmark 0x7 iif eth7 [detached] lookup default proto 241",
];
const all6 = ["100: from all to fd00:10::/48 oif lo lookup main proto 241"];
const resources = { stack: new AsyncDisposableStack() };

async function open(): Promise<Reconciler> {
  return resources.stack.use(
    await Reconciler.open({
      devices: [],
      ownedNetworks: [to, parsePrefix("fd00:10::/48")],
      logger: recordingLogger().logger,
      signal: new AbortController().signal,
      auditIntervalMs: 0,
    }),
  );
}

/** As `ip rule` prints them, without those that every host has. */
async function rules(family: 4 | 6): Promise<string[]> {
  const lines = (await box.ip(`-${family}`, "rule", "show")).split("\n");
  return lines.map((line) => line.trim().replaceAll("\t", " ")).filter((line) => !/^(0|3276[67]): |^$/.test(line));
}

beforeEach(() => {
  resources.stack = new AsyncDisposableStack();
});

afterEach(async () => {
  await resources.stack.disposeAsync();
  for (const family of ["-4", "-6"]) {
    await box.tryRun(["sh", "-c", `while ip ${family} rule del proto 241; do :; done; ip ${family} rule del pref 500`]);
  }
});

test("are there as wanted, and read as ip prints them", async () => {
  const reconciler = await open();
  expect(await reconciler.setDesired(state, prune)).toMatchObject({ operations: 4, failures: [] });
  expect([await rules(4), await rules(6)]).toEqual([all4, all6]);
  expect(hostStateLines(state)).toEqual([...all4, ...all6].map((line) => line.replace(" [detached]", "")));
  expect(await reconciler.difference()).toEqual([]);
  expect(reconciler.status()).toMatchObject({ desiredObjects: 4, programmedObjects: 4, repairs: { total: 0 } });
});

test("come back when somebody deletes or flushes them", async () => {
  const reconciler = await open();
  await reconciler.setDesired(state, prune);
  await box.ip("rule", "del", "pref", "101");
  await until(() => reconciler.status().repairs.total === 1, { what: "the repair of one" });
  expect(await rules(4)).toEqual(all4);
  expect(reconciler.status().repairs.last[0]).toMatchObject({ action: "added", object: all4[1] });
  await box.ip("rule", "flush", "proto", "241");
  await until(async () => (await rules(4)).length === 3, { what: "the rules after the flush" });
  expect(await rules(4)).toEqual(all4);
});

test("are adopted by the next run, which takes away what is not wanted any more", async () => {
  const first = await open();
  await first.setDesired(state, prune);
  await first[Symbol.asyncDispose]();
  const second = await open();
  expect(await second.setDesired(state, prune)).toMatchObject({ operations: 0, failures: [] });
  await second.setDesired({ rule: state.rule.slice(2) }, prune);
  expect([await rules(4), await rules(6)]).toEqual([all4.slice(2), all6]);
  expect(await second.difference()).toEqual([]);
  await second.setDesired(emptyHostState, prune);
  expect([await rules(4), await rules(6)]).toEqual([[], []]);
});

test("the start removes those of our networks; of another agent's and of others none is touched", async () => {
  await box.ip("rule", "add", "pref", "100", "to", "10.5.9.0/24", "lookup", "main", "protocol", "241");
  await box.ip("rule", "add", "pref", "101", "to", "10.99.0.0/16", "lookup", "main", "protocol", "241");
  await box.ip("rule", "add", "pref", "500", "to", "10.5.0.0/16", "lookup", "main", "protocol", "static");
  const reconciler = await open();
  await reconciler.setDesired(emptyHostState, { prune: false });
  expect(await rules(4)).toHaveLength(3);
  expect(await reconciler.setDesired(emptyHostState, prune)).toMatchObject({ operations: 1, failures: [] });
  expect(await rules(4)).toEqual([
    "101: from all to 10.99.0.0/16 lookup main proto 241",
    "500: from all to 10.5.0.0/16 lookup main proto static",
  ]);
  await box.ip("rule", "add", "pref", "102", "from", "10.5.0.0/16", "prohibit", "protocol", "241");
  await until(async () => (await rules(4)).length === 2, { what: "the rule of ours that nobody wants to go" });
});
