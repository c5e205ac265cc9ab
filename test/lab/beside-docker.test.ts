// Beside a real Docker, which sets the FORWARD policy to DROP when it finds forwarding off, and writes its rules anew at
// each start: before the agent, after it, and again.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { run } from "../../lab/command.ts";
import { SourceRecorder } from "../../lab/connection-stream.ts";
import { Docker } from "../../lab/docker.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { boxNamespace } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";

const mkDockerOpts = fileURLToPath(new URL("../../bin/mk-docker-opts", import.meta.url));
const world = "192.168.50.1";

describe.each(["nftables", "iptables-nft"] as const)("%s", (mode) => {
  const resources = new AsyncDisposableStack();
  let lan: Lan;
  let agents: LabAgent[] = [];
  let dockers: Docker[] = [];

  /** As the unit of a Docker host has it. */
  async function optionsFrom(agent: LabAgent | undefined): Promise<{ readonly args: readonly string[] }> {
    await agent?.untilSubnetEnv();
    const file = `${agent?.directory}/docker_opts.env`;
    await run([mkDockerOpts, "-f", agent?.subnetFile ?? "", "-d", file, "-c"]);
    const options = /^DOCKER_OPTS="(.*)"$/m.exec(await readFile(file, "utf8"))?.[1] ?? "";
    return { args: options.trim().split(" ") };
  }

  beforeAll(async () => {
    lan = resources.use(await createLan({ hosts: 2 }));
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    const config = { Network: "10.5.0.0/16", EnableNFTables: mode === "nftables", Backend: { Type: "vxlan" } };
    await etcd.put("/coreos.com/network/config", JSON.stringify(config));
    for (const host of lan.hosts) await host.namespace.sysctl({ "net.ipv4.ip_forward": 0 });
    const first = await Docker.start(lan.host(1), { args: [] });
    agents = lan.hosts.map((host) =>
      resources.use(LabAgent.start(host, { etcdEndpoints: etcd.endpoints, args: ["--ip-masq"] })),
    );
    // Ready on a host where nobody has turned forwarding on is an agent only once Docker has.
    await agents[0]?.untilReady({ peers: 1 });
    await until(async () => (await agents[1]?.status())?.peers.programmed === 1, {
      what: "the peer on the second host",
    });
    // As the documentation says: Docker is started anew with the subnet.
    await first.down();
    await lan.host(1).namespace.ip("link", "del", "dev", "docker0");
    await first.up(await optionsFrom(agents[0]));
    dockers = [first, await Docker.start(lan.host(2), await optionsFrom(agents[1]))];
    for (const docker of dockers) resources.use(docker);
    await agents[1]?.untilReady({ peers: 1 });
  });

  afterAll(() => resources.disposeAsync(), 60_000);

  async function expectAllWell(names: readonly [string, string]): Promise<void> {
    const publish = ["--publish", "18080:8080"];
    const addresses = await Promise.all(
      dockers.map((docker, index) => docker.container(names[index] ?? "", ...publish)),
    );
    for (const [index, docker] of dockers.entries()) {
      const [name = "", other = ""] = [names[index], addresses[1 - index]];
      await until(() => docker.exec(name, "/ping", "-c", "1", "-W", "1", other), { what: `${name} to reach ${other}` });
      await using recorder = await SourceRecorder.listen(9_300);
      await docker.exec(name, "/sh", "-c", `/nc -w 2 ${world} 9300 </busybox || true`);
      expect([...recorder.sources.keys()]).toEqual([lan.host(index + 1).ipv4]);
      const { mtuBytes } = (await agents[index]?.untilSubnetEnv()) ?? {};
      expect((await docker.exec(name, "/cat", "/sys/class/net/eth0/mtu")).trim()).toBe(String(mtuBytes));
      void docker.exec(name, "/sh", "-c", "while :; do echo published | /nc -l -p 8080; done").catch(() => undefined);
      const ask = ["socat", "-u", `TCP:${lan.host(index + 1).ipv4}:18080`, "-"];
      const isReached = async () => (await boxNamespace.tryRun(ask)).stdout.includes("published");
      await until(isReached, { what: `the published port of ${name}` });
    }
  }

  it("containers on two hosts reach each other and the world although the policy is DROP", async () => {
    for (const host of lan.hosts) {
      expect(await host.namespace.run(["iptables", "-S", "FORWARD"])).toContain("-P FORWARD DROP");
    }
    await expectAllWell(["first1", "first2"]);
    for (const agent of agents) {
      const { findings, failures } = await agent.status();
      expect([findings, failures]).toEqual([[], []]);
    }
  });

  it("and again after Docker was restarted", async () => {
    for (const [index, docker] of dockers.entries()) {
      await docker.down();
      await docker.up(await optionsFrom(agents[index]));
    }
    await expectAllWell(["second1", "second2"]);
  });
});
