// The backend of a living network is changed host by host between vxlan and host-gw, whose hosts reach each other by plain
// routes meanwhile: continuous pings between all hosts lose nothing.
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { ContinuousPing, untilAllPing } from "../../lab/probe.ts";

const network = { Network: "10.5.0.0/16", EnableIPv6: true, IPv6Network: "fd00:5::/48" };
const hosts = [1, 2];
/** Meanwhile each host takes packets in both forms, so that the order of changes does not matter. */
const direct = { Type: "vxlan", DirectRouting: true };

let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    config: { ...network, Backend: { Type: "vxlan" } },
    hosts: hosts.length,
    ipv6: true,
  });
  await untilAllPing(cluster.pods);
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

it.each([
  ["tunnels", "direct routes", direct],
  ["vxlan", "host-gw", { Type: "host-gw" }],
  ["host-gw", "vxlan", direct],
  ["direct routes", "tunnels", { Type: "vxlan" }],
])("no packet is lost while %s becomes %s, host by host", async (_, __, backend) => {
  await using pings = new AsyncDisposableStack();
  const running: ContinuousPing[] = [];
  for (const from of hosts) {
    const to = cluster.pod((from % hosts.length) + 1);
    for (const address of [to.ipv4, to.ipv6]) {
      running.push(pings.use(await ContinuousPing.start(cluster.pod(from).namespace, address ?? "")));
    }
  }
  await cluster.etcd.put("/coreos.com/network/config", JSON.stringify({ ...network, Backend: backend }));
  for (const number of hosts) {
    await cluster.agent(number).term();
    const status = await cluster.startAgent(number).untilReady({ peers: hosts.length - 1 });
    expect(status.peers.skipped).toEqual([]);
    await running[0]?.more(20);
  }
  for (const one of running) expect(await one.stop()).toMatchObject({ lost: [] });
  const log = hosts.map((number) => cluster.agent(number).output).join("\n");
  expect(log).not.toMatch(/ (WARN|ERROR) .*(kernel refused|re-created)/);
});
