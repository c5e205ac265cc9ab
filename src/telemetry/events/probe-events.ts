// Log events about probes of peers. Each is reported once for each change; a peer that keeps changing is reported less often.
import { info, verbose, warn } from "./definition.ts";

export const probeEvents = {
  "probe.peer-down": warn(
    "A peer no longer answers probes: packets of containers to it get lost. The line says whether its host answers outside of the tunnel.",
    "If its host answers, look for a firewall on the UDP port of the tunnel on both hosts; else look at that host and the network between.",
  ),
  "probe.peer-one-way": warn(
    "Packets pass between this host and a peer in one direction alone; the line says in which.",
    "Look for a firewall or a security group that drops the packets of the tunnel in the other direction.",
  ),
  "probe.peer-slow": warn(
    "Probes of a peer take much longer than usual, or many get lost.",
    "Look at the network between the hosts, and at the load of both.",
  ),
  "probe.peer-mtu": warn(
    "Small packets reach a peer and large ones of containers get lost; the line has the largest that arrives.",
    "Set the backend's `MTU` in the network configuration to what the line says and the tunnel's overhead, or correct the network between the hosts.",
  ),
  "probe.peer-up": info("A peer answers probes again."),
  "probe.peer-unknown": info("Nothing is known of a peer any more: nobody there can answer probes."),
  "probe.many-changed": warn(
    "Many peers changed at once; the line has how many, and names some.",
    "If most peers are down at once, look at this host first. `flannelctl status` shows the peers.",
  ),
  "probe.changed": verbose(1, "A peer became suspect or known: every change of what probes found."),
  "probe.mtu-changed": info("The path to a peer carries another size of packets than before; the line has both."),
  "path-mtu.lowered": warn(
    "The path to a peer carries less than containers send: its route, and the MSS of TCP, say so from now on (`--path-mtu=repair`).",
    "Correct the network between the hosts, or set the backend's `MTU`; until then nothing has to be done.",
  ),
  "path-mtu.restored": info("The path to a peer carries all that containers send again: its route is as before."),
  "probe.unavailable": warn(
    "The agent cannot send probes; the line has the reason. Packets of containers are not concerned.",
    "Give the agent `CAP_NET_RAW`, or turn probes off with `--probe-interval=0`.",
  ),
};
