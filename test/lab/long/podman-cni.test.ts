// Podman 4 with its CNI backend, as a runtime beside Kubernetes: one host by the configuration that the agent writes, one by the
// plugin. Containers of both talk, and leave nothing.
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LabAgent } from "../../../lab/agent.ts";
import { ContainerHost, sharedDirectory } from "../../../lab/container-host.ts";
import { Etcd } from "../../../lab/etcd.ts";
import { createLan } from "../../../lab/lan.ts";
import { until } from "../../../lab/wait.ts";

const plugin = fileURLToPath(new URL("../../../cni/flannel", import.meta.url));
const podman = "podman --runtime runc --cgroup-manager cgroupfs";
const resources = new AsyncDisposableStack();
const busybox = `tar -C /usr -c bin/busybox | ${podman} import --change 'ENTRYPOINT=["/bin/busybox"]' - busybox`;

let hosts: readonly [ContainerHost, ContainerHost];

function configuration(directory: string): string {
  return `[network]
network_backend = "cni"
cni_plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
network_config_dir = "${directory}"
[engine]
init_path = ""
`;
}

beforeAll(async () => {
  const lan = resources.use(await createLan({ hosts: 2 }));
  const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const boot = async (number: number): Promise<ContainerHost> => {
    const host = resources.use(await ContainerHost.boot(lan.host(number)));
    const directory = join(sharedDirectory, host.host.name);
    mkdirSync(join(directory, "net.d"), { recursive: true });
    const conflist = join(directory, "net.d/10-flannel.conflist");
    const args = number === 1 ? [`--cni-conf-file=${conflist}`] : [];
    const agent = resources.use(LabAgent.start(lan.host(number), { etcdEndpoints: etcd.endpoints, args, directory }));
    await agent.untilReady();
    if (number === 2) {
      const entry = { type: "flannel", subnetFile: agent.subnetFile, delegate: { isDefaultGateway: true } };
      writeFileSync(conflist, JSON.stringify({ name: "cbr0", cniVersion: "1.0.0", plugins: [entry] }));
      mkdirSync(host.file("/opt/cni/bin"), { recursive: true });
      cpSync(plugin, host.file("/opt/cni/bin/flannel"));
    }
    await until(async () => (await host.trySh(`test -s ${conflist}`)).exitCode === 0, { what: conflist });
    writeFileSync(join(directory, "containers.conf"), configuration(join(directory, "net.d")));
    await host.sh(`export CONTAINERS_CONF=${directory}/containers.conf; ${busybox}`);
    return host;
  };
  hosts = [await boot(1), await boot(2)];
});

afterAll(() => resources.disposeAsync());

function sh(host: ContainerHost, script: string): Promise<string> {
  return host.sh(`export CONTAINERS_CONF=${sharedDirectory}/${host.host.name}/containers.conf; ${script}`);
}

const names = ["c1", "c2", "c3", "c4", "c5"];
const start = (host: ContainerHost, name: string) =>
  sh(host, `${podman} run --detach --cgroup-parent=${host.cgroup} --network cbr0 --name ${name} busybox sleep 3600`);

async function traces(host: ContainerHost): Promise<readonly number[]> {
  const counts = [
    "ls /var/lib/cni/networks/cbr0 2>/dev/null | grep -c '^[0-9]' || :",
    "ls /var/lib/cni/flannel 2>/dev/null | wc -l",
    "ip -br link show type veth | grep -c ^veth || :",
  ];
  return (await sh(host, counts.join("; "))).trim().split("\n").map(Number);
}

test("five at once on each host: each reaches those of the other, and nothing is left of them", async () => {
  const [h1, h2] = hosts;
  await Promise.all(hosts.flatMap((host) => names.map((name) => start(host, name))));
  expect(await traces(h1)).toEqual([5, 0, 5]);
  expect(await traces(h2)).toEqual([5, 5, 5]);
  const inspect = `${podman} inspect --format '{{.NetworkSettings.Networks.cbr0.IPAddress}}' ${names.join(" ")}`;
  const addresses = (await sh(h2, inspect)).trim().split("\n");
  expect(new Set(addresses).size).toBe(5);
  for (const address of addresses) {
    expect(await sh(h1, `${podman} exec c1 /bin/busybox ping -c 2 -W 5 ${address}`)).toContain("2 packets received");
  }
  for (const host of hosts) {
    await sh(host, `${podman} rm --force --time 0 ${names.join(" ")}`);
    expect(await traces(host)).toEqual([0, 0, 0]);
  }
});
