// What containers leave behind on a host's disk, in the files as host-local 1.1, libcni and flannel's plugin write them.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { withSharedLock } from "../sys/shared-lock.ts";
import { collect, findGarbage, MIN_AGE_MS } from "./collect-garbage.ts";
import {
  type ContainerNetwork,
  containerNetwork,
  freeEarlierBoots,
  removeIdleScratchFiles,
} from "./container-network.ts";
import { readReservations } from "./reservations.ts";
import { writeMissingScratchFiles } from "./write-scratch.ts";

let directory: string;
let network: ContainerNetwork;
const nowMs = 2_000_000_000_000;
const bootedAtMs = nowMs - 3_600_000;
const [beforeBoot, longAgo, justNow] = [bootedAtMs - 60_000, nowMs - 2 * MIN_AGE_MS, nowMs - 1_000];
const idOf = (number: number) => number.toString(16).padStart(64, "0");
const conflist = {
  cniVersion: "1.0.0",
  name: "cbr0",
  plugins: [
    {
      type: "bridge",
      mtu: 1450,
      ipMasq: false,
      hairpinMode: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.5.7.0/24" }]], routes: [{ dst: "10.5.0.0/16" }] },
    },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cni-"));
  network = containerNetwork(directory, "cbr0");
  for (const path of [network.reservations, network.scratch, join(directory, "results")])
    mkdirSync(path, { recursive: true });
  write(join(network.reservations, "lock"), "", beforeBoot);
  write(join(network.reservations, "last_reserved_ip.0"), "10.5.7.9", beforeBoot);
});
afterEach(() => rmSync(directory, { recursive: true }));

function write(path: string, text: string, atMs: number): void {
  writeFileSync(path, text);
  utimesSync(path, atMs / 1_000, atMs / 1_000);
}

function reserve(address: string, id: string, atMs: number, interfaceName = "eth0"): void {
  write(join(network.reservations, address), `${id}\r\n${interfaceName}`, atMs);
}

/** As libcni does. */
function remember(id: string, hostInterface: string, interfaceName = "eth0"): void {
  const interfaces = [{ name: "cni0" }, { name: hostInterface }, { name: interfaceName, sandbox: `/run/netns/${id}` }];
  const cached = {
    kind: "cniCacheV1",
    containerId: id,
    config: Buffer.from(JSON.stringify(conflist)).toString("base64"),
    ifName: interfaceName,
    networkName: "cbr0",
    result: { cniVersion: "1.0.0", interfaces, ips: [] },
  };
  writeFileSync(join(directory, "results", `cbr0-${id}-${interfaceName}`), JSON.stringify(cached));
}

function keepScratch(id: string, atMs: number, ipam: object = { type: "host-local" }): void {
  write(join(network.scratch, id), JSON.stringify({ name: "cbr0", type: "bridge", ipam }), atMs);
}

const addresses = () => readReservations(network.reservations).map(({ address }) => address);
const host = { interfaces: new Set(["eth0", "cni0", "veth5"]), bootedAtMs };

describe("after a boot", () => {
  test("frees what the clock and the runtime both say is of an earlier boot, and nothing else", async () => {
    reserve("10.5.7.2", idOf(2), beforeBoot);
    reserve("fd00:5:0:7::2", idOf(2), beforeBoot);
    remember(idOf(2), "veth2");
    keepScratch(idOf(2), beforeBoot);
    reserve("10.5.7.3", idOf(3), bootedAtMs + 60_000); // of this boot
    remember(idOf(3), "veth3");
    reserve("10.5.7.4", idOf(4), beforeBoot); // nobody knows whether it lives
    reserve("10.5.7.5", idOf(5), beforeBoot); // lives: the clock was set since
    remember(idOf(5), "veth5");
    const freed = await freeEarlierBoots(network, host);
    expect(freed.map(({ address }) => address)).toEqual(["10.5.7.2", "fd00:5:0:7::2"]);
    expect(addresses()).toEqual(["10.5.7.3", "10.5.7.4", "10.5.7.5"]);
    expect(readdirSync(network.scratch)).toEqual([]);
    expect(readdirSync(join(directory, "results")).sort()).toEqual([3, 5].map((id) => `cbr0-${idOf(id)}-eth0`));
    expect(existsSync(join(network.reservations, "last_reserved_ip.0"))).toBe(true);
  });

  test("costs nothing where CNI keeps nothing, and reads nothing into damaged files", async () => {
    expect(await freeEarlierBoots(containerNetwork("/nowhere", "cbr0"), host)).toEqual([]);
    reserve("10.5.7.2", "", beforeBoot);
    write(join(network.reservations, "10.5.7.3"), "x".repeat(100_000), beforeBoot);
    writeFileSync(join(directory, "results", `cbr0-${idOf(2)}-eth0`), "{");
    writeFileSync(join(directory, "results", `cbr0-${idOf(3)}-eth0`), "[]");
    expect(await freeEarlierBoots(network, host)).toEqual([]);
    expect(readdirSync(network.reservations)).toContain("10.5.7.2");
  });
});

describe("by the runtime's answer", () => {
  const look = (alive: readonly number[]) =>
    findGarbage({ network, host, nowMs, sandboxes: async () => new Set(alive.map(idOf)) });

  test("frees the addresses of sandboxes that it does not know, with their files", async () => {
    for (const number of [1, 2]) reserve(`10.5.7.${number + 1}`, idOf(number), longAgo);
    for (const number of [1, 2]) keepScratch(idOf(number), longAgo);
    remember(idOf(2), "veth2");
    keepScratch(idOf(9), longAgo); // deleted by another way of attaching
    keepScratch(idOf(8), justNow); // being attached
    keepScratch(idOf(7), longAgo, { type: "dhcp" }); // who knows its address?
    const freed = await collect(network, await look([1]));
    expect(freed.map(({ address }) => address)).toEqual(["10.5.7.3"]);
    expect(addresses()).toEqual(["10.5.7.2"]);
    expect(readdirSync(network.scratch).sort()).toEqual([1, 7, 8].map(idOf));
    expect(readdirSync(join(directory, "results"))).toEqual([]);
  });

  test("keeps what is being made, what another program made, and what is still attached, and says why", async () => {
    reserve("10.5.7.2", idOf(2), justNow);
    reserve("10.5.7.3", "default-mine", longAgo);
    reserve("10.5.7.5", idOf(5), longAgo);
    remember(idOf(5), "veth5");
    reserve("10.5.7.6", idOf(6), nowMs + 5_000_000);
    const { reservations, kept } = await look([]);
    expect(reservations).toEqual([]);
    expect(kept.map(({ reservation: { address }, reason }) => `${address} ${reason}`)).toEqual([
      expect.stringContaining("10.5.7.2 it is younger"),
      expect.stringContaining("10.5.7.3 its container default-mine was not made by a runtime for pods"),
      expect.stringContaining("10.5.7.5 the host's end of its interface is still there: veth5"),
      expect.stringContaining("10.5.7.6 it was made in the future"),
    ]);
  });

  test("an address that went to another container between look and deed stays", async () => {
    reserve("10.5.7.2", idOf(2), longAgo);
    const garbage = await look([]);
    await withSharedLock(join(network.reservations, "lock"), () => reserve("10.5.7.2", idOf(3), justNow));
    expect(await collect(network, garbage)).toEqual([]);
    expect(addresses()).toEqual(["10.5.7.2"]);
  });

  test("a runtime that cannot be asked costs nobody an address", async () => {
    reserve("10.5.7.2", idOf(2), longAgo);
    const sandboxes = () => Promise.reject(new Error("refused"));
    await expect(findGarbage({ network, host, nowMs, sandboxes })).rejects.toThrow("refused");
    expect(addresses()).toEqual(["10.5.7.2"]);
  });
});

describe("between the ways to attach", () => {
  test("writes for each container that lives what upstream's plugin would have kept of it", async () => {
    reserve("10.5.7.2", idOf(2), longAgo);
    reserve("10.5.7.3", idOf(2), longAgo, "net1");
    reserve("10.5.7.5", idOf(5), longAgo);
    remember(idOf(5), "veth5");
    reserve("10.5.7.6", idOf(6), longAgo);
    remember(idOf(6), "veth6"); // gone
    reserve("10.5.7.7", idOf(7), longAgo);
    keepScratch(idOf(7), longAgo); // attached by the plugin
    const other = JSON.stringify({ ...conflist, cniVersion: "0.3.1" });
    expect(await writeMissingScratchFiles(network, other, host.interfaces)).toBe(2);
    expect(await writeMissingScratchFiles(network, other, host.interfaces)).toBe(0);
    expect(readdirSync(network.scratch).sort()).toEqual([2, 5, 7].map(idOf));
    const textOf = (version: string) =>
      `{"cniVersion":"${version}","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.5.7.0/24"}]],"routes":[{"dst":"10.5.0.0/16"}],"type":"host-local"},"mtu":1450,"name":"cbr0","type":"bridge"}`;
    expect(readFileSync(join(network.scratch, idOf(2)), "utf8")).toBe(textOf("0.3.1"));
    expect(readFileSync(join(network.scratch, idOf(5)), "utf8")).toBe(textOf("1.0.0"));
  });

  test("removes what the plugin kept of containers that were detached without it", () => {
    reserve("10.5.7.2", idOf(2), longAgo);
    keepScratch(idOf(2), longAgo);
    keepScratch(idOf(3), longAgo);
    keepScratch(idOf(4), justNow);
    keepScratch(idOf(5), longAgo, { type: "host-local", dataDir: "/elsewhere" });
    write(join(network.scratch, idOf(6)), JSON.stringify({ name: "other", ipam: { type: "host-local" } }), longAgo);
    removeIdleScratchFiles(network, nowMs - MIN_AGE_MS);
    expect(readdirSync(network.scratch).sort()).toEqual([2, 4, 5, 6].map(idOf));
  });
});
