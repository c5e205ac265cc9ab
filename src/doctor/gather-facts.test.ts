import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import type { CheckContext } from "./check.ts";
import { FactGatherer } from "./gather-facts.ts";

/** Stands for the kernel's socket of a vxlan device: both are listed in the same way. */
const socket = createSocket("udp4");
beforeAll(async () => {
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
});
afterAll(() => new Promise<void>((resolve) => socket.close(() => resolve())));

const none = async () => [];

/** `listings`: whether the device with the port is up, as of each listing of the devices. */
async function foreignPorts(listings: readonly boolean[]): Promise<ReadonlySet<number>> {
  const { port } = socket.address();
  const left = [...listings];
  const dump = async () => [
    { index: 7, name: "flannel.1", kind: "vxlan", isUp: left.shift(), vxlan: { vni: 1, port } },
  ];
  const gatherer = new FactGatherer(
    { dump } as unknown as Rtnetlink,
    none,
    () => [],
    () => [],
  );
  const context = { needs: { carriesTraffic: true, kernelDevice: { kind: "vxlan", udpPort: port } } };
  const facts = await gatherer.gather(new Set(["foreignUdpPorts"]), context as unknown as CheckContext);
  expect(left).toEqual([]);
  return facts.foreignUdpPorts;
}

test("the port of a device that comes up while the host is read is not another program's", async () => {
  const { port } = socket.address();
  expect(await foreignPorts([true])).not.toContain(port);
  expect(await foreignPorts([false, true])).not.toContain(port);
  expect(await foreignPorts([false, false])).toContain(port);
});
