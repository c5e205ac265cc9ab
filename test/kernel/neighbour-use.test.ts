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

function addElsewhere(count: number, state: string, net: number): void {
  const lines = Array.from({ length: count }, (_, n) => {
    const address = `10.${net}.${n >> 8}.${n & 255}`;
    return `neigh add ${address} lladdr 02:00:00:00:00:01 nud ${state} dev d0`;
  });
  expect(spawnSync("ip", ["-n", "elsewhere", "-batch", "-"], { input: lines.join("\n") }).status).toBe(0);
}

const used = async () => (await readNeighbourUse(LIMIT_MS, 0)).find(({ family }) => family === 4)?.used ?? 0;

it("counts what the kernel may forget, in every namespace", async () => {
  const before = await used();
  addElsewhere(REACHABLE, "reachable", 98);
  addElsewhere(PERMANENT, "permanent", 99);
  const grown = (await used()) - before;
  // Other programs of this machine have neighbours as well.
  expect(grown).toBeGreaterThan(REACHABLE / 2);
  expect(grown).toBeLessThan(PERMANENT);
  const [table] = readNeighbourTables().filter(({ family }) => family === 4);
  expect(table?.entries).toBeGreaterThanOrEqual(PERMANENT + REACHABLE / 2);
  expect(table?.max).toBeGreaterThan(0);
});
