// Runs on a kernel that has ipip: two hosts with agents and containers, and `flannelctl trace` between them while the way is whole and
// while it is broken at one place after the other. Prints one line of JSON for each; trace-kernel.test.ts judges.
import { Cluster } from "../../../lab/cluster.ts";
import { type TraceFault, traceFaults } from "../../support/trace-faults.ts";
import { tell } from "./guest.ts";

const device = "flannel.ipip";
const drop = "-p 4 -j DROP";

await using cluster = await Cluster.start({
  hosts: 2,
  config: { Network: "10.5.0.0/16", Backend: { Type: "ipip" } },
  // The second kernel's tables are those of legacy iptables.
  args: ["--iptables-forward-rules=false"],
});
const bridge = (cluster.pod(1).ipv4 ?? "").replace(/\d+$/, "1");
const second = "192.168.50.12";

const faults: readonly TraceFault[] = [
  {
    ...{ name: "no route to the peer's host", at: 1 },
    make: `ip route add unreachable ${second}/32`,
    undo: `ip route del unreachable ${second}/32`,
  },
  { name: "own firewall", at: 1, make: `iptables-legacy -A OUTPUT ${drop}`, undo: `iptables-legacy -D OUTPUT ${drop}` },
  {
    name: "the peer's firewall",
    at: 2,
    make: `iptables-legacy -A INPUT ${drop}`,
    undo: `iptables-legacy -D INPUT ${drop}`,
  },
  {
    ...{ name: "the peer's device down", at: 2, stopped: [2] },
    make: `ip link set ${device} down`,
    undo: `ip link set ${device} up`,
  },
  {
    ...{ name: "the peer's rp_filter", at: 2 },
    make: `sysctl -qw net.ipv4.conf.all.rp_filter=1; ip route add ${bridge}/32 via 192.168.50.1`,
    undo: `sysctl -qw net.ipv4.conf.all.rp_filter=0; ip route del ${bridge}/32`,
  },
  {
    ...{ name: "the peer does not forward", at: 2 },
    make: "sysctl -qw net.ipv4.ip_forward=0",
    undo: "sysctl -qw net.ipv4.ip_forward=1",
  },
  {
    ...{ name: "the peer is away", at: 0 },
    make: "ip link set h2 down",
    undo: "ip link set h2 up",
  },
];

await traceFaults(cluster, faults, tell);
tell("done", true);
