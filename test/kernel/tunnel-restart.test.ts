// A data plane that ends again and again is tried ever more seldom, and the log says it once.
import { afterEach, beforeEach, expect, test } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { ServiceDescriptors } from "../../src/sys/service-descriptors.ts";
import { Tunnel } from "../../src/tunnel/tunnel.ts";
import { recordingLogger } from "../support/host-fixture.ts";

let resources: AsyncDisposableStack;
beforeEach(() => {
  resources = new AsyncDisposableStack();
});
afterEach(() => resources.disposeAsync());

const removeDevice = () => box.tryRun(["ip", "link", "del", "dev", "flannel0"]);

/** Whose device is removed as soon as a session has begun, while `isHostile`. */
async function openTunnel() {
  const { logger, lines } = recordingLogger();
  const host = { isHostile: true, starts: 0 };
  const onChange = () => {
    if (tunnel.status().features === undefined) return;
    host.starts++;
    if (host.isHostile) removeDevice().catch(() => undefined);
  };
  resources.defer(async () => void (await removeDevice()));
  const descriptorStore = resources.use(new ServiceDescriptors());
  const tunnel = resources.use(new Tunnel({ logger, descriptorStore, onChange }));
  await tunnel.setState({
    device: "flannel0",
    port: 8285,
    localIpv4: parseAddress("127.0.0.1"),
    own: { subnet: parsePrefix("10.5.1.0/24") },
    peers: [],
    checkSource: true,
    offload: true,
  });
  const said = (event: string) => lines.filter((line) => line.event === event).length;
  return { tunnel, host, said };
}

test("pauses grow while sessions end at once; one that lasts is news, and its end begins anew", async () => {
  const startedMs = performance.now();
  const { tunnel, host, said } = await openTunnel();
  await until(() => host.starts >= 7, { what: "the seventh session" });
  // 50, 100, 200, 400, 800 and 1,600 ms.
  expect(performance.now() - startedMs).toBeGreaterThan(3_000);
  expect([said("tunnel.started"), said("tunnel.failed")]).toEqual([1, 1]);

  host.isHostile = false;
  await until(() => said("tunnel.started") === 2, { what: "a session that lasts" });
  expect(tunnel.problem).toBeUndefined();
  expect(said("tunnel.failed")).toBe(1);

  const before = host.starts;
  const removedMs = performance.now();
  await removeDevice();
  await until(() => host.starts > before, { what: "the next session", intervalMs: 5 });
  expect(performance.now() - removedMs).toBeLessThan(3_000); // without the reset 3,200 ms or more
  expect([said("tunnel.started"), said("tunnel.failed")]).toEqual([3, 2]);
});
