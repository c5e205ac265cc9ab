// IPv4 settings that our device inherits: set by netlink, also where /proc/sys is read-only, and kept so.
import { afterEach, beforeEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { device, makeEth0, network, overlayState, recordingLogger } from "../support/host-fixture.ts";

const conf = (name: string, key: string) => `/proc/sys/net/ipv4/conf/${name}/${key}`;
const readNumber = async (path: string) => Number(await box.run(["cat", path]));
const write = (path: string, value: number) => box.run(["sh", "-c", `echo ${value} > ${path}`]);
let reconciler: Reconciler;

beforeEach(async () => {
  await makeEth0();
  reconciler = await Reconciler.open({
    devices: [device],
    ownedNetworks: [network],
    logger: recordingLogger().logger,
    signal: new AbortController().signal,
    auditIntervalMs: 0,
  });
});

afterEach(async () => {
  await reconciler[Symbol.asyncDispose]();
  await box.tryRun(["sh", "-c", `umount /proc/sys; ip link del dev ${device}; ip link del dev eth0; ip nexthop flush`]);
  await write(conf("default", "forwarding"), 1);
  for (const name of ["all", "default"]) await write(conf(name, "rp_filter"), 0);
});

const state = () => ({ ...overlayState(1), sysctl: [], deviceSettings: [{ device }] });

test("forwarding off and strict filtering are inherited, and set right though /proc/sys is read-only", async () => {
  await write(conf("default", "forwarding"), 0);
  await write(conf("all", "rp_filter"), 1);
  await box.run(["sh", "-c", "mount -o bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"]);
  const result = await reconciler.setDesired(state(), { prune: true });
  expect(result.failures).toEqual([]);
  expect(await readNumber(conf(device, "forwarding"))).toBe(1);
  expect(await readNumber(conf(device, "rp_filter"))).toBe(2);
  expect(reconciler.status().repairs.total).toBe(0);
});

test("what somebody changes afterwards is repaired; a filter that is off stays off", async () => {
  await reconciler.setDesired(state(), { prune: true });
  expect(await readNumber(conf(device, "rp_filter"))).toBe(0);
  await write(conf(device, "forwarding"), 0);
  await until(async () => (await readNumber(conf(device, "forwarding"))) === 1, { what: "forwarding" });
  await write(conf("all", "rp_filter"), 1);
  await until(async () => (await readNumber(conf(device, "rp_filter"))) === 2, { what: "loose filtering" });
  await write("/proc/sys/net/ipv4/ip_forward", 0);
  await until(async () => (await readNumber(conf(device, "forwarding"))) === 1, { what: "forwarding of our device" });
  expect(await reconciler.difference()).toEqual([]);
  expect(reconciler.status().repairs.last.map(({ object }) => object)).toContain(
    "net.ipv4.conf.flannel/1.forwarding = 1, rp_filter != 1",
  );
});
