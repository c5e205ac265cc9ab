// What this host's interfaces are connected to: the reconciler never takes it, and the watch tells when it comes and goes.
import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { routes } from "../../lab/kernel-view.ts";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until, untilLines } from "../../lab/wait.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { type Prefix, parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { Rtnetlink } from "../../src/netlink/rtnetlink/rtnetlink.ts";
import { OccupiedWatch } from "../../src/underlay/occupied-watch.ts";
import { device, makeEth0, network, overlayState, recordingLogger, untilPeers } from "../support/host-fixture.ts";

const prune = { prune: true };
const bridgeRoute = "10.0.2.0/24 dev docker0 proto kernel scope link src 10.0.2.1";
const resources = { stack: new AsyncDisposableStack() };

async function open(): Promise<Reconciler> {
  return resources.stack.use(
    await Reconciler.open({
      devices: [device],
      ownedNetworks: [network],
      logger: recordingLogger().logger,
      signal: new AbortController().signal,
      auditIntervalMs: 0,
    }),
  );
}

/** Before anything else of this process can happen. */
function addBridgeAtOnce(): void {
  execFileSync("ip", ["link", "add", "dev", "docker0", "up", "type", "bridge"]);
  execFileSync("ip", ["addr", "add", "10.0.2.1/24", "dev", "docker0"]);
}

async function wayTo(subnet: string): Promise<string[]> {
  const lines = (await box.ip("route", "show", "to", "exact", subnet)).split("\n");
  return lines.map((line) => line.replace(" linkdown", "").trim()).filter((line) => line !== "");
}

beforeEach(async () => {
  resources.stack = new AsyncDisposableStack();
  await makeEth0();
});

afterEach(async () => {
  await resources.stack.disposeAsync();
  await box.tryRun(["sh", "-c", `for d in ${device} docker0 eth0; do ip link del dev $d; done`]);
});

describe("the kernel's route of an interface", () => {
  test("is not replaced, the other peers are served, and the peer is when the interface goes", async () => {
    addBridgeAtOnce();
    const reconciler = await open();
    const { failures } = await reconciler.setDesired(overlayState(1, 2), prune);
    expect(failures).toEqual([]);
    expect(await wayTo("10.0.2.0/24")).toEqual([bridgeRoute]);
    expect(reconciler.failures().map(({ failure }) => failure.error)).toEqual([
      expect.stringContaining("the kernel's route 10.0.2.0/24 dev docker0 stays"),
    ]);
    await box.ip("link", "del", "dev", "docker0");
    await untilPeers(1, 2);
    expect(reconciler.failures()).toEqual([]);
  });

  test("is not replaced when it came after the look", async () => {
    const reconciler = await open();
    await reconciler.setDesired(overlayState(1), prune);
    // The notification waits in the socket while this pass begins.
    addBridgeAtOnce();
    await reconciler.setDesired(overlayState(1, 2), prune);
    expect(await wayTo("10.0.2.0/24")).toEqual([bridgeRoute]);
    expect(reconciler.failures().map(({ failure }) => failure.error)).toEqual([
      expect.stringContaining("the kernel's route 10.0.2.0/24 dev docker0 stays"),
    ]);
  });

  test("takes over from the route to a peer that was there before it", async () => {
    const reconciler = await open();
    await reconciler.setDesired(overlayState(1, 2), prune);
    addBridgeAtOnce();
    await reconciler.setDesired(overlayState(1), prune);
    await untilLines(() => wayTo("10.0.2.0/24"), [bridgeRoute], { what: "the kernel's route alone" });
    await untilPeers(1);
  });
});

test("a route that nobody had made when the look was taken is replaced all the same when it is somebody's", async () => {
  const reconciler = await open();
  await reconciler.setDesired(overlayState(1), prune);
  execFileSync("ip", ["route", "add", "10.0.2.0/24", "via", "192.168.50.99", "dev", "eth0"]);
  await reconciler.setDesired(overlayState(1, 2), prune);
  await untilPeers(1, 2);
  expect(await wayTo("10.0.2.0/24")).toHaveLength(1);
});

test("before the first snapshot a route of ours to a forbidden prefix goes, the others stay", async () => {
  const first = await open();
  await first.setDesired(overlayState(1, 2, 3), prune);
  await first[Symbol.asyncDispose]();
  const second = await open();
  const forbidden = [parsePrefix("10.0.2.9/32")];
  await second.setDesired(overlayState(1), { prune: false, forbidden });
  await untilLines(
    async () => (await routes(box, "dev", device)).map((line) => line.split(" ")[0] ?? ""),
    ["10.0.1.0/24", "10.0.3.0/24"],
    { what: "the route to the forbidden prefix to be gone" },
  );
});

describe("what the host uses inside the network", () => {
  const networks = [parsePrefix("10.0.0.0/8"), parsePrefix("fd00:10::/32")];
  const state = { own: [] as Prefix[], reached: [] as string[] };

  async function watch(): Promise<OccupiedWatch> {
    const rtnetlink = resources.stack.use(Rtnetlink.open());
    return resources.stack.use(
      await OccupiedWatch.open({
        rtnetlink,
        logger: recordingLogger().logger,
        onChange: () => undefined,
        context: () => ({
          networks,
          ownSubnets: state.own,
          earlierSubnets: [],
          isFlannelLink: ({ name }) => name === device,
          reached: state.reached.map((text) => ({ address: parseAddress(text), what: "the store" })),
        }),
      }),
    );
  }

  test("comes and goes with interfaces, gateways and addresses of the store", async () => {
    const occupied = await watch();
    const prefixes = () => Promise.resolve(occupied.current.map(({ prefix }) => prefix));
    expect(await prefixes()).toEqual([]);
    addBridgeAtOnce();
    await box.ip("-6", "addr", "add", "fd00:10:0:7::1/64", "dev", "docker0", "nodad");
    await untilLines(prefixes, ["10.0.2.0/24", "fd00:10:0:7::/64"], { what: "the bridge's networks" });
    await box.ip("addr", "add", "10.9.9.9", "peer", "10.9.9.10/32", "dev", "eth0");
    await box.ip("route", "add", "default", "via", "10.9.9.10", "dev", "eth0");
    const withPeer = ["10.0.2.0/24", "10.9.9.10/32", "10.9.9.9/32", "fd00:10:0:7::/64"];
    await untilLines(prefixes, withPeer, { what: "both ends of the link" });
    state.own = [parsePrefix("10.0.2.0/24")];
    expect(occupied.current.map(({ prefix }) => prefix)).not.toContain("10.0.2.0/24");
    state.own = [];
    await box.ip("link", "del", "dev", "docker0");
    await untilLines(prefixes, ["10.9.9.10/32", "10.9.9.9/32"], { what: "the bridge's networks to be gone" });
    state.reached = ["10.7.7.7", "192.0.2.7"];
    expect(occupied.current.map(({ prefix }) => prefix)).toContain("10.7.7.7/32");
    expect(occupied.current, "the same while nothing changes").toBe(occupied.current);
    state.reached = [];
  });

  test("does not grow with our own routes", async () => {
    const reconciler = await open();
    await reconciler.setDesired(overlayState(1, 2, 3), prune);
    const occupied = await watch();
    await until(() => Promise.resolve(occupied.current.length === 0), { what: "nothing in use" });
  });
});
