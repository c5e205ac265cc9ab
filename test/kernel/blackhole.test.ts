// --ip-blackhole-route: the subnet of this host swallows what no container takes.
import { afterEach, beforeEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { emptyHostState } from "../../src/host/kinds/host-state.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const state = {
  blackhole: [{ destination: parsePrefix("10.5.1.0/24") }, { destination: parsePrefix("fd00:10:0:1::/64") }],
};
const resources = { stack: new AsyncDisposableStack() };

async function open(): Promise<Reconciler> {
  return resources.stack.use(
    await Reconciler.open({
      devices: [],
      ownedNetworks: [parsePrefix("10.5.0.0/16"), parsePrefix("fd00:10::/48")],
      logger: recordingLogger().logger,
      signal: new AbortController().signal,
      auditIntervalMs: 0,
    }),
  );
}

async function blackholes(): Promise<string[]> {
  const texts = [
    await box.ip("-4", "route", "show", "type", "blackhole"),
    await box.ip("-6", "route", "show", "type", "blackhole"),
  ];
  return texts
    .join("")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" ")[1] ?? "");
}

beforeEach(() => {
  resources.stack = new AsyncDisposableStack();
});

afterEach(async () => {
  await resources.stack.disposeAsync();
  await box.tryRun(["sh", "-c", "ip route flush type blackhole; ip -6 route flush type blackhole; ip link del cni0"]);
});

test("is there, comes back, and goes when it is no longer wanted", async () => {
  const reconciler = await open();
  expect(await reconciler.setDesired(state, { prune: true })).toMatchObject({ operations: 2, failures: [] });
  expect(await blackholes()).toEqual(["10.5.1.0/24", "fd00:10:0:1::/64"]);
  expect(await reconciler.difference()).toEqual([]);
  await box.ip("route", "del", "blackhole", "10.5.1.0/24", "metric", "65535");
  await until(() => reconciler.status().repairs.total === 1, { what: "the repair" });
  expect((await blackholes()).length).toBe(2);
  await reconciler.setDesired(emptyHostState, { prune: true });
  expect(await blackholes()).toEqual([]);
});

test("does not hide the bridge of the containers, whichever comes first", async () => {
  const reconciler = await open();
  await reconciler.setDesired(state, { prune: true });
  await expect(box.ip("route", "get", "10.5.1.7")).rejects.toThrow();
  await box.ipBatch(["link add dev cni0 type bridge", "addr add 10.5.1.1/24 dev cni0", "link set dev cni0 up"]);
  expect(await box.ip("route", "get", "10.5.1.7")).toContain("dev cni0");
});

test("upstream's and those of others are left alone", async () => {
  await box.ip("route", "add", "blackhole", "10.5.9.0/24");
  const reconciler = await open();
  await reconciler.setDesired(state, { prune: true });
  await reconciler.setDesired(emptyHostState, { prune: true });
  expect(await blackholes()).toEqual(["10.5.9.0/24"]);
});
