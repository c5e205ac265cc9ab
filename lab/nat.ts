// A host behind a NAT box on the first LAN, as behind a home router or in a cloud: it has a private address, the others
// see the box's, and only the tunnel's port is forwarded to it.
import { LabHost } from "./host.ts";
import type { Lan } from "./lan.ts";
import { boxNamespace, createNamespaces, Namespace, removeNamespaces } from "./namespace.ts";

export interface NatHost extends AsyncDisposable {
  readonly host: LabHost;
  /** What it must announce with `--public-ip`. */
  readonly publicIp: string;
}

const publicIp = "192.168.50.254";
const insideGateway = "172.20.0.1";
const insideAddress = "172.20.0.14";

/** Makes the host `hn` behind the router `nat`, which forwards `udpPort` (default 8472). IPv4 only. */
export async function createNatHost(lan: Lan, udpPort = 8472): Promise<NatHost> {
  const [first] = lan.hosts;
  if (first === undefined) throw new Error("a NAT box needs a LAN with hosts");
  const segment = { bridge: first.segment.bridge, ipv4Gateway: insideGateway, ipv6Gateway: undefined };
  const { mtuBytes } = first;
  const host = new LabHost({ name: "hn", segment, ipv4: insideAddress, ipv6: undefined, mtuBytes });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => removeNamespaces(["nat", host.name]));
  await createNamespaces(["nat", host.name]);
  await boxNamespace.ipBatch([
    `link add dev ${host.name} mtu ${mtuBytes} type veth peer name wan mtu ${mtuBytes} netns nat`,
    `link set dev ${host.name} master ${segment.bridge} up`,
  ]);
  await prepareRouter(new Namespace("nat"), host, first.segment.ipv4Gateway ?? "", udpPort);
  await host.prepare();
  const disposer = cleanup.move();
  return { host, publicIp, [Symbol.asyncDispose]: () => disposer.disposeAsync() };
}

async function prepareRouter(router: Namespace, host: LabHost, lanGateway: string, udpPort: number): Promise<void> {
  await router.ipBatch([
    `addr add ${publicIp}/24 dev wan`,
    "link set dev wan up",
    `route add default via ${lanGateway}`,
    `link add dev inside mtu ${host.mtuBytes} type veth peer name eth0 netns ${host.name}`,
    `addr add ${insideGateway}/24 dev inside`,
    "link set dev inside up",
  ]);
  await router.sysctl({ "net.ipv4.ip_forward": 1 });
  await router.nft(`table ip nat {
  chain in {
    type nat hook prerouting priority -100;
    iifname "wan" udp dport ${udpPort} dnat to ${insideAddress};
  }
  chain out {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade;
  }
  chain forward {
    type filter hook forward priority 0;
    iifname "wan" ct state new ct status & dnat != dnat drop;
  }
}
`);
}
