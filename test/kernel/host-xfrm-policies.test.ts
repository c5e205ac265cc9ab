// IPsec policies against the real kernel: as upstream writes them, repaired within a second, adopted, stale ones removed, those of
// others left alone.
import { afterEach, beforeEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { emptyHostState, type HostState } from "../../src/host/kinds/host-state.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { hasKernelEsp } from "../../src/netlink/xfrm/xfrm-control.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const prune = { prune: true };
const resources = { stack: new AsyncDisposableStack() };
const [local, remote] = [parseAddress("192.0.2.1"), parseAddress("192.0.2.2")];

function state(...peers: readonly number[]): HostState {
  const subnet = parsePrefix("10.5.1.0/24");
  return {
    xfrmPolicy: peers.flatMap((peer) => {
      const theirs = parsePrefix(`10.5.${peer}.0/24`);
      const back = {
        source: theirs,
        destination: subnet,
        tunnelSource: remote,
        tunnelDestination: local,
        requestId: 11,
      };
      const out = {
        source: subnet,
        destination: theirs,
        tunnelSource: local,
        tunnelDestination: remote,
        requestId: 11,
      };
      return [
        { direction: "out", ...out },
        { direction: "in", ...back },
        { direction: "fwd", ...back },
      ] as const;
    }),
  };
}

/** As `ip xfrm policy` prints them, a line each. */
async function policies(): Promise<string[]> {
  const text = await box.ip("xfrm", "policy", "show");
  return text
    .split(/\n(?=src)/)
    .map((block) => block.replaceAll(/\s+/g, " ").trim())
    .filter((line) => line !== "" && !line.includes("socket"))
    .sort();
}

const tunnel = (from: string, to: string) =>
  `priority 0 ptype main tmpl src ${from} dst ${to} proto esp reqid 11 mode tunnel`;

function expected(...peers: readonly number[]): string[] {
  return peers
    .flatMap((peer) => [
      `src 10.5.1.0/24 dst 10.5.${peer}.0/24 dir out ${tunnel("192.0.2.1", "192.0.2.2")}`,
      `src 10.5.${peer}.0/24 dst 10.5.1.0/24 dir in ${tunnel("192.0.2.2", "192.0.2.1")}`,
      `src 10.5.${peer}.0/24 dst 10.5.1.0/24 dir fwd ${tunnel("192.0.2.2", "192.0.2.1")}`,
    ])
    .sort();
}

async function open(): Promise<Reconciler> {
  return resources.stack.use(
    await Reconciler.open({
      devices: [],
      ownedNetworks: [parsePrefix("10.5.0.0/16")],
      logger: recordingLogger().logger,
      signal: new AbortController().signal,
      auditIntervalMs: 0,
    }),
  );
}

beforeEach(() => {
  resources.stack = new AsyncDisposableStack();
});

afterEach(async () => {
  await resources.stack.disposeAsync();
  await box.ip("xfrm", "policy", "flush");
});

test("are there as upstream writes them", async () => {
  const reconciler = await open();
  expect(await reconciler.setDesired(state(2, 3), prune)).toMatchObject({ operations: 6, failures: [] });
  expect(await policies()).toEqual(expected(2, 3));
  expect(await reconciler.difference()).toEqual([]);
});

const template = ["tmpl", "src", "192.0.2.9", "dst", "192.0.2.2", "proto", "esp", "reqid", "11", "mode", "tunnel"];
const outgoing = ["src", "10.5.1.0/24", "dst", "10.5.2.0/24", "dir", "out"];

test.each([
  ["one deleted", ["delete", ...outgoing]],
  ["all flushed", ["flush"]],
  ["one that blocks", ["update", ...outgoing, "action", "block"]],
  ["one with another end", ["update", ...outgoing, ...template]],
  ["one of ours too many", ["add", "src", "10.5.1.0/24", "dst", "10.5.9.0/24", "dir", "out", ...template]],
])("are put right: %s", async (_, words) => {
  const reconciler = await open();
  await reconciler.setDesired(state(2, 3), prune);
  await box.ip("xfrm", "policy", ...words);
  await until(async () => JSON.stringify(await policies()) === JSON.stringify(expected(2, 3)), { what: "the repair" });
  await until(() => reconciler.status().repairs.total > 0, { what: "the repair to be counted" });
});

test("are adopted by the next run; stale ones of ours go, and others' stay", async () => {
  const first = await open();
  await first.setDesired(state(2, 3), prune);
  await first[Symbol.asyncDispose]();
  const others = [
    ["src", "10.99.1.0/24", "dst", "10.99.2.0/24", "dir", "out", ...template],
    ["src", "10.5.1.0/24", "dst", "172.16.0.0/24", "dir", "out", ...template],
    [
      "src",
      "10.5.1.0/24",
      "dst",
      "10.5.8.0/24",
      "dir",
      "out",
      ...template.map((word) => (word === "11" ? "12" : word)),
    ],
    ["src", "10.5.1.0/24", "dst", "10.5.7.0/24", "proto", "tcp", "dir", "out", ...template],
  ];
  for (const words of others) await box.ip("xfrm", "policy", "add", ...words);
  const second = await open();
  expect(await second.setDesired(state(2), { prune: false })).toMatchObject({ operations: 0, failures: [] });
  expect(await second.setDesired(state(2), prune)).toMatchObject({ operations: 3, failures: [] });
  const left = await policies();
  expect(left.filter((line) => expected(2).includes(line))).toEqual(expected(2));
  expect(left).toHaveLength(3 + others.length);
  await second.setDesired(emptyHostState, prune);
  expect(await policies()).toHaveLength(others.length);
});

test("asking whether the kernel has ESP leaves nothing behind", async () => {
  const esp = hasKernelEsp();
  expect(await box.ip("xfrm", "state", "show")).toBe("");
  const made = await box.tryRun(
    [
      "ip",
      "xfrm",
      "state",
      "add",
      "src",
      "192.0.2.1",
      "dst",
      "192.0.2.2",
      "proto",
      "esp",
      "spi",
      "7",
      "mode",
      "tunnel",
    ].concat(["auth", "digest_null", "", "enc", "ecb(cipher_null)", ""]),
  );
  expect(made.exitCode === 0).toBe(esp);
  await box.ip("xfrm", "state", "flush");
});
