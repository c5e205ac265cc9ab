// Podman 4 with its CNI backend, as a runtime beside Kubernetes: one host by the configuration that the agent writes, one by the
// plugin, with what administrators add to it: a bridge in promiscuous mode, and limits of bandwidth. Containers of both talk, and
// leave nothing.
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

/** The bridge in promiscuous mode, and 16 Mbit/s to each container and from it. */
const template = (subnetFile?: string) => ({
  name: "cbr0",
  cniVersion: "1.0.0",
  plugins: [
    { type: "flannel", delegate: { isDefaultGateway: true, promiscMode: true }, ...(subnetFile && { subnetFile }) },
    { type: "bandwidth", ingressRate: 16e6, ingressBurst: 8e6, egressRate: 16e6, egressBurst: 8e6 },
  ],
});

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
    const templateFile = join(directory, "cni-conf.json");
    writeFileSync(templateFile, JSON.stringify(template()));
    const args = number === 1 ? [`--cni-conf-file=${conflist}`, `--cni-conf-template=${templateFile}`] : [];
    const agent = resources.use(LabAgent.start(lan.host(number), { etcdEndpoints: etcd.endpoints, args, directory }));
    await agent.untilReady();
    if (number === 2) {
      writeFileSync(conflist, JSON.stringify(template(agent.subnetFile)));
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

const names = Array.from({ length: 20 }, (_, index) => `c${index}`);
const start = (host: ContainerHost, name: string) =>
  sh(host, `${podman} run --detach --cgroup-parent=${host.cgroup} --network cbr0 --name ${name} busybox sleep 3600`);

async function traces(host: ContainerHost): Promise<readonly number[]> {
  const counts = [
    "ls /var/lib/cni/networks/cbr0 2>/dev/null | grep -c '^[0-9]' || :",
    "ls /var/lib/cni/flannel 2>/dev/null | wc -l",
    "ip -br link show type veth | grep -c ^veth || :",
    "ip -br link show type ifb | wc -l",
  ];
  return (await sh(host, counts.join("; "))).trim().split("\n").map(Number);
}

test("twenty at once on each host: each reaches those of the other, and nothing is left of them", async () => {
  const [h1, h2] = hosts;
  await Promise.all(hosts.flatMap((host) => names.map((name) => start(host, name))));
  // The plugin bandwidth makes an ifb device for each container.
  expect(await traces(h1)).toEqual([20, 0, 20, 20]);
  expect(await traces(h2)).toEqual([20, 20, 20, 20]);
  for (const host of hosts) {
    expect(await sh(host, "ip link show cni0")).toContain("PROMISC");
    const limits = (await sh(host, "tc qdisc show")).match(/qdisc tbf .* rate 16Mbit/g);
    expect(limits).toHaveLength(40);
  }
  const inspect = `${podman} inspect --format '{{.NetworkSettings.Networks.cbr0.IPAddress}}' ${names.join(" ")}`;
  const addresses = (await sh(h2, inspect)).trim().split("\n");
  expect(new Set(addresses).size).toBe(20);
  const ping = addresses.map((address) => `/bin/busybox ping -c 2 -W 5 ${address}`).join("; ");
  const said = await sh(h1, `${podman} exec c1 /bin/busybox sh -c '${ping}'`);
  expect(said.match(/2 packets received/g)).toHaveLength(20);
  for (const host of hosts) {
    await sh(host, `${podman} rm --force --time 0 ${names.join(" ")}`);
    expect(await traces(host)).toEqual([0, 0, 0, 0]);
  }
});
