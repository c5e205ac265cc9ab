// Log events about this host: its external interface, the kernel's objects, traffic rules, the udp backend's data plane.
import { error, info, verbose, warn } from "./definition.ts";

export const hostEvents = {
  "firewall.failed": error(
    "The kernel or a tool refused traffic rules, in the words of the line; the agent retries.",
    "`flannelctl rules`",
  ),
  "firewall.missing": warn(
    "This host has no tool for traffic rules that works.",
    "Install nftables or iptables, or turn the rules off.",
  ),
  "firewall.mode": info("Says where the agent keeps the traffic rules, and why."),
  "firewall.odd": warn(
    "Something about the traffic rules of this host is unusual: a tool or a kernel module is missing.",
    "Install or load what the line names.",
  ),
  "firewall.recovered": info("Traffic rules that were refused before are in place."),
  "firewall.repaired": warn(
    "Somebody changed our traffic rules, named by program and pid where the kernel tells; the agent put them back.",
    "Find out who it is, and keep that program from our rules.",
  ),
  "firewall.unused": verbose(1, "The agent cannot read a table that it does not need."),
  "firewall.unwatched": warn(
    "The kernel does not announce changes of its rules; the agent looks at the resync period.",
    "Nothing, if repairs within `--iptables-resync` are quick enough.",
  ),

  "host.contested": warn(
    "Somebody changes our kernel objects again and again; the agent pauses its repairs.",
    "Find out who it is: usually another network manager or a second flannel.",
  ),
  "host.failed": error(
    "The kernel refused devices, addresses or routes, in the words of the line; the agent retries.",
    "`flannelctl status`",
  ),
  "host.look-failed": error(
    "The agent could not read the state of the kernel; it retries.",
    "Repair what the line names; the agent needs root or `CAP_NET_ADMIN`.",
  ),
  "host.object": verbose(4, "The agent writes one kernel object."),
  "host.programmed": verbose(1, "The agent wrote kernel objects; the line has their number."),
  "host.refused": error(
    "The agent leaves a kernel object alone, because it is not ours to change.",
    "Remove the object that the line names, if flannel is to have its place.",
  ),
  "host.repaired": warn(
    "Somebody changed our devices or routes; the agent put them back.",
    "Find out who it is: usually another network manager.",
  ),

  "interface.changed": warn(
    "The external interface or its address changed; the lease follows.",
    "Check that the other hosts can reach the new address.",
  ),
  "interface.chosen": info("Says through which interface and with which address this host reaches the others."),
  "interface.look-failed": warn(
    "The agent could not read the external interface; it retries.",
    "Repair what the line names.",
  ),
  "interface.odd": warn(
    "The choice of the external interface is unusual, for example a public IP that is on no interface.",
    "Nothing behind NAT; else check `--iface` and `--public-ip`.",
  ),

  "peers.lookup-failed": warn(
    "The agent could not ask the kernel for the way to a peer; packets to it go through the tunnel.",
    "Repair what the line names.",
  ),
  "plan.failed": error(
    "The agent could not work out the state of this host; the kernel's state stays as it is.",
    "Report it, with this line.",
  ),

  "tunnel.failed": error(
    "The udp backend carries no packets, for the reason in the line; the agent retries.",
    "Another flanneld or program holds the device or the port: stop it. `/dev/net/tun` is missing: `modprobe tun`. " +
      "Another version runs under the same unit: `systemctl stop`, then `start`.",
  ),
  "tunnel.incomplete": error(
    "The udp backend carries the packets of one address family only; the agent retries every second.",
    "`ip -6 addr`: is the address tentative or `dadfailed`? Another program may hold the port.",
  ),
  "tunnel.started": info("The udp backend carries packets; the line has the kernel's offloads that it uses."),
};
