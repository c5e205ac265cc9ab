// How full the kernel's table of neighbours is: it is one for all network namespaces, and permanent entries do not count.
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { readNeighbourUse } from "../../src/doctor/gather/neighbour-use.ts";
import { readNeighbourTables } from "../../src/netlink/rtnetlink/neighbour-tables.ts";

const LIMIT_MS = 20_000;
const REACHABLE = 200;
const PERMANENT = 600;

beforeAll(async () => {
  await box.run([
    "sh",
    "-ec",
    "ip netns add elsewhere; ip -n elsewhere link add d0 type bridge; ip -n elsewhere link set d0 up",
  ]);
});

afterAll(async () => {
  await box.tryRun(["ip", "netns", "del", "elsewhere"]);
});

function add(namespace: readonly string[], count: number, state: string, net: number): void {
  const lines = Array.from({ length: count }, (_, n) => {
    const address = `10.${net}.${n >> 8}.${n & 255}`;
    return `neigh add ${address} lladdr 02:00:00:00:00:01 nud ${state} dev d0`;
  });
  expect(spawnSync("ip", [...namespace, "-batch", "-"], { input: lines.join("\n") }).status).toBe(0);
}

const elsewhere = ["-n", "elsewhere"];
const used = async () => (await readNeighbourUse(LIMIT_MS, 0)).find(({ family }) => family === 4)?.used ?? 0;

it("counts what the kernel may forget, in every namespace", async () => {
  const before = await used();
  add(elsewhere, REACHABLE, "reachable", 98);
  add(elsewhere, PERMANENT, "permanent", 99);
  const grown = (await used()) - before;
  // Other programs of this machine have neighbours as well.
  expect(grown).toBeGreaterThan(REACHABLE / 2);
  expect(grown).toBeLessThan(PERMANENT);
  const [table] = readNeighbourTables().filter(({ family }) => family === 4);
  expect(table?.entries).toBeGreaterThanOrEqual(PERMANENT + REACHABLE / 2);
  expect(table?.max).toBeGreaterThan(0);
});

it("takes the time to look elsewhere only where permanent entries of its own do not explain how many there are", async () => {
  const own = 2_000;
  await box.run(["sh", "-ec", "ip link add d0 type bridge; ip link set d0 up"]);
  try {
    add([], own, "permanent", 97);
    const [table] = readNeighbourTables().filter(({ family }) => family === 4);
    if (table === undefined) throw new Error("there is no table of IPv4");
    // No program runs within a millisecond.
    const found = await readNeighbourUse(1, (table.entries - own / 2) / table.max);
    const counted = found.find(({ family }) => family === 4)?.used ?? 0;
    expect(counted).toBeGreaterThanOrEqual(PERMANENT);
    expect(counted).toBeLessThan(table.entries - own / 2);
    await expect(readNeighbourUse(0, 0)).rejects.toThrow("not counted within");
  } finally {
    await box.tryRun(["ip", "link", "del", "d0"]);
  }
});
