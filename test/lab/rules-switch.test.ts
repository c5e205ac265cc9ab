// From one mode to the other and back under a stream of new connections: none is refused, none is seen from a container's
// address. The same for a change of MasqueradeExclude and while somebody flushes the rules again and again elsewhere.
import { afterAll, beforeAll, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { ConnectionStream } from "../../lab/connection-stream.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { until } from "../../lab/wait.ts";

const resources = new AsyncDisposableStack();
let lan: Lan;
let etcd: Etcd;
let agent: LabAgent;
let pod: Pod;

function startAgent(): LabAgent {
  return resources.use(LabAgent.start(lan.host(1), { etcdEndpoints: etcd.endpoints, args: ["--ip-masq"] }));
}

async function configure(change: object): Promise<void> {
  const config = { Network: "10.5.0.0/16", Backend: { Type: "host-gw" }, ...change };
  await etcd.put("/coreos.com/network/config", JSON.stringify(config));
}

beforeAll(async () => {
  lan = resources.use(await createLan({ hosts: 1 }));
  etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  await configure({ EnableNFTables: false });
  agent = startAgent();
  await agent.untilReady();
  pod = await attachPod(agent.host, await agent.untilSubnetEnv());
  // So that a packet that was not masqueraded would be answered too, and its source be seen.
  await boxNamespace.ip("route", "replace", `${pod.ipv4}/32`, "via", pod.host.ipv4 ?? "");
});

afterAll(() => resources.disposeAsync());

it("a change of mode is not seen by any connection, and leaves nothing of the old one", async () => {
  const stream = await ConnectionStream.start(pod.namespace, "192.168.50.1", 9_500);
  for (const isNftables of [true, false, true]) {
    await configure({ EnableNFTables: isNftables });
    await agent.term();
    agent = startAgent();
    await agent.untilReady();
    const other = isNftables ? ["iptables-save"] : ["nft", "list", "tables"];
    await until(async () => !/flannel/i.test(await agent.host.namespace.run(other)), { what: "the old rules to go" });
    await stream.more(50);
  }
  const report = await stream.stop();
  expect(report.failed).toEqual({});
  expect([...report.sources.keys()]).toEqual([pod.host.ipv4]);
});

it("an exclusion is applied to the running agent", async () => {
  await configure({ EnableNFTables: true, MasqueradeExclude: ["192.168.50.0/24"] });
  await until(
    async () => {
      const stream = await ConnectionStream.start(pod.namespace, "192.168.50.1", 9_501);
      const { sources } = await stream.stop();
      return [...sources.keys()].join() === pod.ipv4;
    },
    { what: "the container's own address to be seen" },
  );
});
