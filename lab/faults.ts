// What goes wrong in real networks, as calls. Each returns how to undo it. Network faults sit in the box's namespace
// (the switch), so nothing inside the host shows that the lab did it.
import type { LabHost, LanSegment } from "./host.ts";
import { boxNamespace } from "./namespace.ts";

export type Undo = () => Promise<void>;

/** The cable's far end goes down: no carrier on eth0, addresses and routes stay. */
export async function partition(host: LabHost): Promise<Undo> {
  await boxNamespace.ip("link", "set", "dev", host.name, "down");
  return async () => void (await boxNamespace.ip("link", "set", "dev", host.name, "up"));
}

/** The host is on no LAN: carrier stays, nothing gets through. */
export async function unplug(host: LabHost): Promise<Undo> {
  await boxNamespace.ip("link", "set", "dev", host.name, "nomaster");
  return async () => void (await boxNamespace.ip("link", "set", "dev", host.name, "master", host.segment.bridge));
}

/** These two hosts lose sight of each other; both reach all others. */
export function cut(a: LabHost, b: LabHost): Promise<Undo> {
  return dropOnSwitch([`iifname "${a.name}" oifname "${b.name}" drop`, `iifname "${b.name}" oifname "${a.name}" drop`]);
}

/** The data plane dies and the control plane lives: datagrams to this port are dropped on all LANs. */
export function dropUdp(port: number): Promise<Undo> {
  return dropOnSwitch([`udp dport ${port} drop`]);
}

/** Datagrams to this port get lost from one host to the other, and not the other way. */
export function dropUdpOneWay(from: LabHost, to: LabHost, port: number): Promise<Undo> {
  return dropOnSwitch([`iifname "${from.name}" oifname "${to.name}" udp dport ${port} drop`]);
}

/** Part of what goes to or from the host is lost at random, in percent. */
export function lose(host: LabHost, percent: number): Promise<Undo> {
  const chance = percent >= 100 ? "drop" : `numgen random mod 100 < ${percent} drop`;
  return dropOnSwitch([`iifname "${host.name}" ${chance}`, `oifname "${host.name}" ${chance}`]);
}

/** Part of the datagrams to this port that the router forwards between its LANs is lost at random, in percent. */
export async function loseRouted(port: number, percent: number): Promise<Undo> {
  tableCount += 1;
  const table = `fault${tableCount}`;
  const rule = `udp dport ${port} numgen random mod 100 < ${percent} drop`;
  await boxNamespace.nft(
    `table inet ${table} {\n  chain c {\n    type filter hook forward priority 0; policy accept;\n    ${rule}\n  }\n}\n`,
  );
  return () => boxNamespace.nft(`delete table inet ${table}\n`);
}

/**
 * Part of the datagrams to this port, in percent, takes a second and slower way from the router to these hosts, and so
 * comes late and out of order; each frame by itself. Hosts on different LANs only.
 */
export async function reorder(hosts: readonly LabHost[], port: number, percent: number): Promise<Undo> {
  const mark = 77;
  const rule = `udp dport ${port} numgen random mod 100 < ${percent} meta mark set ${mark}`;
  const families = ["-4", "-6"] as const;
  for (const family of families)
    await boxNamespace.ip(family, "rule", "add", "fwmark", String(mark), "table", String(mark));
  for (const host of hosts) await laySlowWay(host, mark);
  await boxNamespace.nft(
    `table inet reorder {\n  chain c {\n    type filter hook prerouting priority -150; policy accept;\n    ${rule}\n  }\n}\n`,
  );
  return async () => {
    await boxNamespace.nft("delete table inet reorder\n");
    for (const host of hosts) await boxNamespace.ip("link", "del", "dev", `slow-${host.name}`);
    for (const family of families) await boxNamespace.ip(family, "rule", "del", "fwmark", String(mark));
  };
}

async function laySlowWay(host: LabHost, table: number): Promise<void> {
  const device = `slow-${host.name}`;
  await host.namespace.run(["ethtool", "-K", "eth0", "tso", "off", "gso", "off", "tx-udp-segmentation", "off"]);
  await boxNamespace.ipBatch([
    `link add dev ${device} type veth peer name slow netns ${host.name}`,
    `addr add 169.254.${table}.1/24 dev ${device}`,
    `addr add fd00:${table}::1/64 dev ${device} nodad`,
    `link set dev ${device} up`,
  ]);
  await host.namespace.ipBatch([
    `addr add 169.254.${table}.2/24 dev slow`,
    `addr add fd00:${table}::2/64 dev slow nodad`,
    "link set dev slow up",
  ]);
  await boxNamespace.ipBatch([
    ...(host.ipv4 === undefined ? [] : [`route add ${host.ipv4} via 169.254.${table}.2 dev ${device} table ${table}`]),
    ...(host.ipv6 === undefined ? [] : [`route add ${host.ipv6} via fd00:${table}::2 dev ${device} table ${table}`]),
  ]);
  const queue = ["rate", "40mbit", "burst", "6000", "latency", "30ms"];
  await boxNamespace.run(["tc", "qdisc", "add", "dev", device, "root", "tbf", ...queue]);
}

/** The router's leg to this LAN carries less than its hosts believe, and tells who sends more. */
export async function narrowLeg({ bridge }: LanSegment, mtuBytes: number): Promise<Undo> {
  await boxNamespace.ip("link", "set", "dev", bridge, "mtu", String(mtuBytes));
  return async () => void (await boxNamespace.ip("link", "set", "dev", bridge, "mtu", "1500"));
}

/** Packets between the host and a service on the LAN's router vanish: its connections stay open and say nothing. */
export async function blackHole(host: LabHost, tcpPort: number): Promise<Undo> {
  tableCount += 1;
  const table = `fault${tableCount}`;
  const chain = (hook: string, match: string) =>
    `chain ${hook} {\n    type filter hook ${hook} priority 0; policy accept;\n    ${match} drop\n  }`;
  const chains = [
    chain("input", `ip saddr ${host.ipv4} tcp dport ${tcpPort}`),
    chain("output", `ip daddr ${host.ipv4} tcp sport ${tcpPort}`),
  ];
  await boxNamespace.nft(`table inet ${table} {\n  ${chains.join("\n  ")}\n}\n`);
  return () => boxNamespace.nft(`delete table inet ${table}\n`);
}

/** Resets all TCP connections of the host to this port, once. */
export async function resetConnections(host: LabHost, tcpPort: number): Promise<void> {
  await host.namespace.run(["ss", "--kill", "--tcp", "dport", "=", String(tcpPort)]);
}

/**
 * eth0 goes down on the host itself: the kernel deletes its routes and IPv6 addresses. Undo does what a real
 * machine's network service does: link up, addresses and default route back. Other routes stay gone.
 */
export async function linkDown(host: LabHost): Promise<Undo> {
  await host.namespace.ip("link", "set", "dev", "eth0", "down");
  return () => host.namespace.ipBatch(["link set dev eth0 up", ...host.addressLines()]);
}

/** Both ends of the host's cable get this MTU. */
export async function setMtu(host: LabHost, mtuBytes: number): Promise<Undo> {
  const set = async (value: number) => {
    await boxNamespace.ip("link", "set", "dev", host.name, "mtu", String(value));
    await host.namespace.ip("link", "set", "dev", "eth0", "mtu", String(value));
  };
  await set(mtuBytes);
  return () => set(host.mtuBytes);
}

/** eth0 gets another IPv4 address, as after a new DHCP lease: the old one goes, the default route comes back. */
export async function changeAddress(host: LabHost, ipv4: string): Promise<Undo> {
  const before = host.ipv4;
  const change = async (from: string | undefined, to: string | undefined) => {
    host.ipv4 = to;
    const removal = from === undefined ? [] : [`addr del ${from}/24 dev eth0`];
    await host.namespace.ipBatch([...removal, ...host.addressLines()]);
  };
  await change(before, ipv4);
  return () => change(ipv4, before);
}

let tableCount = 0;

async function dropOnSwitch(rules: readonly string[]): Promise<Undo> {
  tableCount += 1;
  const table = `fault${tableCount}`;
  const body = ["type filter hook forward priority 0; policy accept;", ...rules].join("\n    ");
  await boxNamespace.nft(`table bridge ${table} {\n  chain forward {\n    ${body}\n  }\n}\n`);
  return () => boxNamespace.nft(`delete table bridge ${table}\n`);
}
