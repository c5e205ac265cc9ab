// Two hosts, a container on each, and every way between them side by side: each way has a network of its own, so that
// rounds can take them in turn while all of them stand.
import { readFile } from "node:fs/promises";
import { LabAgent } from "../lab/agent.ts";
import { Etcd } from "../lab/etcd.ts";
import type { LabHost } from "../lab/host.ts";
import { createLan } from "../lab/lan.ts";
import type { Namespace } from "../lab/namespace.ts";
import { OnePacketPeer } from "../lab/one-packet-peer.ts";
import { attachPod } from "../lab/pod.ts";
import { until } from "../lab/wait.ts";
import { formatLeaseValue } from "../src/lease/lease-value.ts";
import { writePeers } from "./peers.ts";

export type Way = "udp" | "plain" | "many peers" | "one packet" | "vxlan" | "host-gw";
export const ways: readonly Way[] = ["udp", "plain", "many peers", "one packet", "vxlan", "host-gw"];

/** How one way reaches the second container, and the processes that carry its packets. */
export interface Path {
  readonly target: string;
  readonly pids: readonly number[];
}

export interface UdpWorld extends AsyncDisposable {
  readonly from: Namespace;
  readonly to: Namespace;
  readonly paths: ReadonlyMap<Way, Path>;
  /** Whether every frame crosses the wire singly, cut in software. */
  setWire(isCut: boolean): Promise<void>;
  /** Ends the first host's agent of the way "udp" and restarts it; returns when it is ready again. */
  restart(signal: NodeJS.Signals): Promise<void>;
}

type Subnets = readonly [string, string];
const vxlanMtuBytes = 1450;
/** Packets between the hosts go through a veth of their own, without a switch; the LAN is for the store. */
const cable = "cable0";
const cableAddresses = ["192.168.99.1", "192.168.99.2"] as const;

async function layCable(hosts: Hosts): Promise<void> {
  const [first, second] = hosts;
  await first.namespace.ip("link", "add", cable, "type", "veth", "peer", "name", cable, "netns", second.name);
  for (const [index, { namespace }] of hosts.entries()) {
    await namespace.ipBatch([`addr add ${cableAddresses[index]}/24 dev ${cable}`, `link set dev ${cable} up`]);
  }
}

/** `peers` are the made-up leases of the way "many peers". */
export async function createUdpWorld(peers: number): Promise<UdpWorld> {
  await using stack = new AsyncDisposableStack();
  const lan = stack.use(await createLan({ hosts: 2 }));
  const etcd = stack.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  const hosts = [lan.host(1), lan.host(2)] as const;
  await layCable(hosts);
  // Of its own, since it takes agents in later too.
  const running = stack.use(new AsyncDisposableStack());
  const udp = await startAgents(running, etcd, hosts, "/udp", { Network: "172.20.0.0/16", Backend: { Type: "udp" } });
  const plainBackend = { Type: "udp", Port: 8286, Offload: false };
  const plain = await startAgents(running, etcd, hosts, "/plain", { Network: "172.24.0.0/16", Backend: plainBackend });
  const config = JSON.stringify({ Network: "10.0.0.0/8", SubnetLen: 24, Backend: { Type: "udp", Port: 8288 } });
  await writePeers(etcd.endpoints, "/many", peers, {
    config,
    leaseOf: ({ publicIp }) => formatLeaseValue({ publicIp }),
  });
  const many = await startAgents(running, etcd, hosts, "/many", undefined);
  const onePacket = await startOnePacket(stack, hosts, ["172.21.1.0/24", "172.21.2.0/24"]);
  const vxlan = await makeVxlan(hosts, ["172.22.1.0/24", "172.22.2.0/24"]);
  const hostGw = await makeRoutes(hosts, ["172.23.1.0/24", "172.23.2.0/24"]);
  const [first, second] = await Promise.all(
    udp.agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())),
  );
  if (first === undefined || second === undefined) throw new Error("there are no containers");
  const pods = [first.namespace, second.namespace] as const;
  for (const { subnets, network, mtuBytes } of [plain, many, onePacket, vxlan, hostGw]) {
    await addNetwork(hosts, pods, subnets, network, mtuBytes);
  }
  const all = { udp, plain, "many peers": many, "one packet": onePacket, vxlan, "host-gw": hostGw };
  const paths = new Map(ways.map((way) => [way, { target: addressIn(all[way].subnets[1], 2), pids: all[way].pids }]));
  const disposer = stack.move();
  return {
    from: pods[0],
    to: pods[1],
    paths,
    setWire: (isCut) => setWire(hosts, isCut),
    restart: (signal) => udp.restart(0, signal),
    [Symbol.asyncDispose]: () => disposer.disposeAsync(),
  };
}

interface Overlay {
  readonly network: string;
  readonly subnets: Subnets;
  readonly pids: readonly number[];
  readonly mtuBytes: number;
}

type Hosts = readonly [LabHost, LabHost];

interface AgentsOverlay extends Overlay {
  readonly agents: readonly LabAgent[];
  restart(index: number, signal: NodeJS.Signals): Promise<void>;
}

async function startAgents(
  stack: AsyncDisposableStack,
  etcd: Etcd,
  hosts: Hosts,
  prefix: string,
  config: { readonly Network: string; readonly Backend: unknown } | undefined,
): Promise<AgentsOverlay> {
  if (config !== undefined) await etcd.put(`${prefix}/config`, JSON.stringify(config));
  const start = (host: LabHost) => {
    const directory = `${host.runDirectory}${prefix}`;
    const args = [`--etcd-prefix=${prefix}`, `--iface=${cable}`];
    return stack.use(LabAgent.start(host, { etcdEndpoints: etcd.endpoints, args, directory }));
  };
  const agents = hosts.map(start);
  await Promise.all(agents.map((agent) => agent.untilReady({ timeoutMs: 60_000 })));
  const subnets = await Promise.all(agents.map(async (agent) => (await agent.status()).lease?.subnet ?? ""));
  const [one = "", two = ""] = subnets;
  const pids = agents.map(({ pid }) => pid);
  const restart = async (index: number, signal: NodeJS.Signals) => {
    const previous = agents[index];
    if (previous === undefined) throw new RangeError(`no agent ${index}`);
    previous.signal(signal);
    await previous.exited;
    const next = start(previous.host);
    agents[index] = next;
    await next.untilReady();
  };
  return { network: config?.Network ?? "10.0.0.0/8", subnets: [one, two], pids, mtuBytes: 1472, agents, restart };
}

async function startOnePacket(stack: AsyncDisposableStack, hosts: Hosts, subnets: Subnets): Promise<Overlay> {
  const pids: number[] = [];
  for (const [index, host] of hosts.entries()) {
    const address = cableAddresses[index] ?? "";
    const peers = new Map([[subnets[1 - index] ?? "", cableAddresses[1 - index] ?? ""]]);
    const options = {
      subnet: subnets[index] ?? "",
      network: "172.21.0.0/16",
      peers,
      port: 8287,
      device: "onepacket",
      address,
    };
    pids.push(stack.use(await OnePacketPeer.start(host, options)).pid);
  }
  return { network: "172.21.0.0/16", subnets, pids, mtuBytes: 1472 };
}

async function makeVxlan(hosts: Hosts, subnets: Subnets): Promise<Overlay> {
  const macs = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
  for (const [index, host] of hosts.entries()) {
    const other = 1 - index;
    const gateway = subnets[other]?.split("/")[0];
    await host.namespace.ipBatch([
      `link add dev flannel.9 address ${macs[index]} mtu ${vxlanMtuBytes} type vxlan id 9 dev ${cable} local ${cableAddresses[index]} dstport 8472 nolearning`,
      "link set dev flannel.9 up",
      `addr add ${subnets[index]?.split("/")[0]}/32 dev flannel.9`,
      `neigh add ${gateway} lladdr ${macs[other]} dev flannel.9 nud permanent`,
      `route add ${subnets[other]} via ${gateway} dev flannel.9 onlink`,
    ]);
    const entry = ["fdb", "add", macs[other] ?? "", "dev", "flannel.9", "dst", cableAddresses[other] ?? "", "self"];
    await host.namespace.bridge(...entry, "permanent");
  }
  return { network: "172.22.0.0/16", subnets, pids: [], mtuBytes: vxlanMtuBytes };
}

async function makeRoutes(hosts: Hosts, subnets: Subnets): Promise<Overlay> {
  for (const [index, host] of hosts.entries()) {
    await host.namespace.ip("route", "add", subnets[1 - index] ?? "", "via", cableAddresses[1 - index] ?? "");
  }
  return { network: "172.23.0.0/16", subnets, pids: [], mtuBytes: 1472 };
}

/** Gives bridge and container of each host addresses of another network. */
async function addNetwork(
  hosts: Hosts,
  pods: readonly [Namespace, Namespace],
  subnets: Subnets,
  network: string,
  mtuBytes: number,
): Promise<void> {
  for (const [index, host] of hosts.entries()) {
    const subnet = subnets[index] ?? "";
    const gateway = addressIn(subnet, 1);
    const own = addressIn(subnet, 2);
    await host.namespace.ip("addr", "add", `${gateway}/24`, "dev", "cni0");
    await pods[index]?.ipBatch([
      `addr add ${own}/24 dev eth0`,
      `route add ${network} via ${gateway} dev eth0 src ${own} mtu ${mtuBytes}`,
    ]);
  }
}

function addressIn(subnet: string, number: number): string {
  return (subnet.split("/")[0] ?? "").replace(/\.\d+$/, `.${number}`);
}

async function setWire(hosts: Hosts, isCut: boolean): Promise<void> {
  const state = isCut ? "off" : "on";
  for (const { namespace } of hosts) {
    const features = ["tso", state, "gso", state, "tx-udp-segmentation", state, "gro", isCut ? "on" : "off"];
    await namespace.run(["ethtool", "-K", cable, ...features]);
  }
}

/** CPU seconds the processes have used so far. */
export async function cpuSeconds(pids: readonly number[]): Promise<number> {
  const times = await Promise.all(
    pids.map(async (pid) => {
      const fields = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
      return (Number(fields[11]) + Number(fields[12])) / 100;
    }),
  );
  return times.reduce((sum, seconds) => sum + seconds, 0);
}

export async function residentMb(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) / 1_024;
}

/** An iperf3 server that stays. */
export async function startServer(namespace: Namespace, port = 5201): Promise<Disposable> {
  const child = namespace.spawn(["iperf3", "-s", "-p", String(port)], { stdio: "ignore" });
  await until(async () => (await namespace.run(["ss", "-Hltn", `sport = :${port}`])) !== "", {
    what: "iperf3 to listen",
  });
  return { [Symbol.dispose]: () => void child.kill("SIGKILL") };
}
