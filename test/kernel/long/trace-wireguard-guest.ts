// Runs on a kernel that has WireGuard: two hosts with agents and containers, and `flannelctl trace` between them while the way is whole
// and while it is broken at one place after the other. Prints one line of JSON for each; trace-kernel.test.ts judges. Few breaks: a
// guest is slow, and wireguard-go shows the others.
import { join } from "node:path";
import { Cluster } from "../../../lab/cluster.ts";
import { type TraceFault, traceFaults } from "../../support/trace-faults.ts";
import { tell } from "./guest.ts";

const device = "flannel-wg";
const drop = "-p udp --dport 51820 -j DROP";

await using cluster = await Cluster.start({
  hosts: 2,
  config: { Network: "10.5.0.0/16", Backend: { Type: "wireguard" } },
  // The lab's hosts share a file system.
  launch: (host) => ({ env: { WIREGUARD_KEY_FILE: join(host.runDirectory, "wgkey") } }),
});
const rightKey = join(cluster.agent(2).host.runDirectory, "wgkey");

const faults: readonly TraceFault[] = [
  { name: "own firewall", at: 1, make: `iptables -A OUTPUT ${drop}`, undo: `iptables -D OUTPUT ${drop}` },
  {
    ...{ name: "another key there", at: 2, stopped: [2] },
    make: `wg genkey >/run/other-key; wg set ${device} private-key /run/other-key`,
    undo: `wg set ${device} private-key ${rightKey}`,
  },
  {
    ...{ name: "the peer does not forward", at: 2 },
    make: "sysctl -qw net.ipv4.ip_forward=0",
    undo: "sysctl -qw net.ipv4.ip_forward=1",
  },
];

await traceFaults(cluster, faults, tell);
tell("done", true);
