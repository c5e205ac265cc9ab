// What a path between two hosts carries: a narrow link on the way is found, with its size, whether the pieces of large packets
// arrive or get lost.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { LabStatus } from "../../lab/agent.ts";
import { Cluster } from "../../lab/cluster.ts";
import { narrowLeg } from "../../lab/faults.ts";
import { until } from "../../lab/wait.ts";

type ProbedPath = NonNullable<LabStatus["probes"]>["paths"][number];

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    ...{ hosts: 1, routedHosts: 1, withoutAgent: [1, 2] },
    config: { Network: "10.5.0.0/16", Backend: { Type: "vxlan" } },
  });
  await narrowLeg(cluster.lan.host(2).segment, 1_300);
  cluster.startAgent(1);
  cluster.startAgent(2);
});

afterAll(() => cluster[Symbol.asyncDispose]());

function untilMtu(is: (path: ProbedPath) => boolean): Promise<ProbedPath> {
  const look = async () => {
    const { probes } = await cluster.agent(1).status();
    const path = probes?.paths[0];
    if (path?.mtu !== undefined && is(path)) return path;
    throw new Error(JSON.stringify(path));
  };
  return until(look, { what: "the path MTU", intervalMs: 200 });
}

it("is found exactly where the router tells it, while the pieces of large packets arrive", async () => {
  const path = await untilMtu(() => true);
  expect(path).toMatchObject({ state: "up", mtu: { underlayBytes: 1_300, overlayBytes: 1_450, wholeBytes: 1_250 } });
});

it("is trouble where they get lost: small packets arrive, large ones do not", async () => {
  await cluster.agent(1).kill9();
  const drop = ["iptables", "-t", "raw", "-A", "PREROUTING", "-f", "-j", "DROP"];
  await cluster.lan.host(2).namespace.run(drop);
  const agent = cluster.startAgent(1);
  const path = await untilMtu(({ state }) => state === "mtuBroken");
  expect(path.mtu?.overlayBytes).toBeLessThanOrEqual(1_250);
  expect(path.mtu?.overlayBytes).toBeGreaterThan(1_240);
  expect((await agent.status()).reasons.map(({ name }) => name)).toEqual(["peer-mtu"]);
  expect(await agent.untilEvent("probe.peer-mtu")).toContain("containers send up to 1450");
});
