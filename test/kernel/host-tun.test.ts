// The reconciler and the TUN device of the udp backend: made, kept while nobody and while somebody is attached, mended,
// removed. iproute2 breaks things and is the witness.
import { afterEach, expect, test } from "vitest";
import { addresses, link, routes } from "../../lab/kernel-view.ts";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { emptyHostState, type HostState } from "../../src/host/kinds/host-state.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import { ensureTun, openTun, removeTuns, setTunOffload } from "../../src/sys/tun-device.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const device = "flannel0";
const network = parsePrefix("10.5.0.0/16");

function wanted(mtuBytes: number): HostState {
  return {
    link: [{ kind: "tun", name: device, mtuBytes }],
    address: [{ device, address: parsePrefix("10.5.1.0/32") }],
    route: [{ destination: network, device, onLink: false }],
  };
}

function openReconciler(): Promise<Reconciler> {
  const { logger } = recordingLogger();
  const { signal } = new AbortController();
  return Reconciler.open({ devices: [device], ownedNetworks: [network], logger, signal, auditIntervalMs: 0 });
}

afterEach(async () => {
  await box.tryRun(["ip", "link", "del", "dev", device]);
});

const isWhole = async (mtuBytes: number) => {
  const found = await link(box, device);
  const hasAll = (await addresses(box, device)).includes("10.5.1.0/32") && (await routes(box)).join().includes(network);
  return found?.kind === "tun" && found.isUp && found.mtuBytes === mtuBytes && hasAll;
};

test("makes the device, follows the MTU, mends what is broken, removes it", async () => {
  await using reconciler = await openReconciler();
  expect((await reconciler.setDesired(wanted(1472), { prune: true })).failures).toEqual([]);
  expect(await isWhole(1472)).toBe(true);
  expect((await reconciler.setDesired(wanted(1472), { prune: true })).operations).toBe(0);
  await reconciler.setDesired(wanted(1400), { prune: true });
  expect(await isWhole(1400)).toBe(true);
  for (const words of [
    ["link", "del", "dev", device],
    ["route", "del", network],
    ["addr", "flush", "dev", device],
    ["link", "set", "dev", device, "down"],
    ["link", "set", "dev", device, "name", "stolen"],
    ["link", "set", "dev", device, "mtu", "1300"],
  ]) {
    await box.ip(...words);
    await until(() => isWhole(1400), { what: `repair after ip ${words.join(" ")}` });
  }
  await reconciler.setDesired(emptyHostState, { prune: true });
  expect(await link(box, device)).toBeUndefined();
});

test("leaves a device alone to which a data plane is attached, and takes it over as it is", async () => {
  using tun = openTun(device, 12);
  expect(setTunOffload(tun, "none")).toBe("none");
  expect(["tcp and udp", "tcp"]).toContain(setTunOffload(tun, "tcp and udp"));
  expect(() => openTun(device, 12)).toThrow("another process uses the device");
  await using reconciler = await openReconciler();
  expect((await reconciler.setDesired(wanted(1472), { prune: true })).failures).toEqual([]);
  expect(await isWhole(1472)).toBe(true);
  tun[Symbol.dispose]();
  expect(await isWhole(1472)).toBe(true);
});

test("of several devices none is removed while a process holds one", async () => {
  ensureTun("flannel1");
  const tun = openTun(device, 12);
  expect(() => removeTuns(["flannel1", device])).toThrow("another process uses the device");
  tun[Symbol.dispose]();
  expect([await link(box, "flannel1"), await link(box, device)]).toMatchObject([{ kind: "tun" }, { kind: "tun" }]);
  removeTuns(["flannel1", device]);
  expect([await link(box, "flannel1"), await link(box, device)]).toEqual([undefined, undefined]);
});

test("does not take a device of another kind for its own", async () => {
  await box.ip("link", "add", "dev", device, "type", "bridge");
  await using reconciler = await openReconciler();
  const { failures } = await reconciler.setDesired(wanted(1472), { prune: true });
  expect(failures.length + reconciler.status().failures.length).toBeGreaterThan(0);
  expect(await link(box, device)).toMatchObject({ kind: "bridge" });
});
