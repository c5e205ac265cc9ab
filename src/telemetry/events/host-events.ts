// Log events about this host: its external interface, the kernel's objects, traffic rules, what runs for backends.
import { error, info, verbose, warn } from "./definition.ts";

export const hostEvents = {
  "extension.command": verbose(1, "A command of the extension backend succeeded."),
  "extension.failed": error(
    "A command of the extension backend failed or did not end in time; the line has its output. The agent retries, except at a stop.",
    "Run the command by hand; correct it in the network configuration.",
  ),
  "extension.given-up": warn(
    "The command that removes a peer failed again and again; the agent does not run it any more.",
    "Remove by hand what the command should have removed.",
  ),
  "extension.leftover": verbose(
    1,
    "A command that removes what may be left of a peer failed, which is usual when nothing is left.",
  ),
  "extension.not-saved": warn(
    "The agent could not save for which peers commands ran; it would not remove those that go while it is away.",
    "Free space in the state directory, or correct its permissions.",
  ),
  "extension.not-started": warn(
    "PreStartupCommand failed; the agent retries.",
    "Run the command by hand; correct it in the network configuration.",
  ),
  "extension.not-started.recovered": info("PreStartupCommand succeeded after a failure."),
  "extension.recovered": info("A command of the extension backend that had failed succeeded."),

  "firewall.failed": error(
    "The kernel or a tool refused traffic rules; the line has its message. The agent retries.",
    "`flannelctl rules`",
  ),
  "firewall.missing": warn(
    "This host has no working tool for traffic rules.",
    "Install nftables or iptables, or turn the rules off.",
  ),
  "firewall.mode": info("The line says which tool the agent uses for traffic rules, and why."),
  "firewall.odd": warn(
    "A tool or a kernel module for traffic rules is missing on this host.",
    "Install or load what the line names.",
  ),
  "firewall.recovered": info("Traffic rules that the kernel or a tool refused before are in place."),
  "firewall.repaired": warn(
    "Another program changed flannel's traffic rules; the agent restored them. The line has program and pid, if known. There is one line a minute while it happens again and again.",
    "Find that program, and configure it to leave flannel's rules alone.",
  ),
  "firewall.unread": warn(
    "The agent cannot look for rules that an earlier mode may have left; the line has the reason.",
    "Correct what the line names, or remove such rules by hand.",
  ),
  "firewall.unused": verbose(1, "The agent cannot read a table that it does not use."),
  "firewall.unwatched": warn(
    "The kernel does not announce changes of its rules; the agent checks them at each resync.",
    "Nothing, if a repair within `--iptables-resync` is fast enough.",
  ),

  "host.contested": warn(
    "Contended: another program keeps changing flannel's kernel objects. One line a minute names them and what stood there instead. The agent keeps repairing, up to 10 times a second for one object.",
    "Find that program by the protocol of a route found there: usually another network manager or a second flannel.",
  ),
  "host.failed": error(
    "The kernel refused devices, addresses or routes; the line has its message. The agent retries.",
    "`flannelctl status`",
  ),
  "host.look-failed": error(
    "The agent could not read the state of the kernel; it retries.",
    "Correct what the line names; the agent needs root or `CAP_NET_ADMIN`.",
  ),
  "host.networks-unknown": warn(
    "The agent could not read which networks this host is connected to; it goes on with what it knew, and retries.",
    "Correct what the line names.",
  ),
  "host.notice-failed": error(
    "A part of the agent failed while it took in a change of the kernel's state; it reads that state again instead. One line for each part.",
    "Report it together with this line.",
  ),
  "host.object": verbose(4, "The agent writes one kernel object."),
  "host.programmed": verbose(1, "The agent wrote kernel objects; the line has their number."),
  "host.refused": error(
    "The agent leaves a kernel object alone, because it belongs to another program.",
    "Remove the object that the line names, if flannel needs its place.",
  ),
  "host.repaired": warn(
    "Another program changed flannel's devices or routes; the agent restored them.",
    "Find that program: usually another network manager.",
  ),

  "interface.changed": warn(
    "The external interface or its address changed; the agent updates its lease.",
    "Check that the other hosts can reach the new address.",
  ),
  "interface.chosen": info("The line has the interface and the address by which this host reaches its peers."),
  "interface.ipv6-arrived": info("A host that lacked IPv6 can serve it now; the agent restarts, in the same process."),
  "interface.look-failed": warn(
    "The agent could not read the external interface; it retries.",
    "Correct what the line names.",
  ),
  "interface.no-ipv6": warn(
    "The network configuration enables IPv6 and this host cannot serve it; it serves IPv4 alone, and IPv6 as soon as it can.",
    "Give the external interface an IPv6 address, or choose another interface with `--iface`; the line has the reason.",
  ),
  "interface.odd": warn(
    "The choice of the external interface is unusual, for example a public IP that no interface has.",
    "Nothing, if the host is behind NAT; otherwise check `--iface` and `--public-ip`.",
  ),

  "peers.lookup-failed": warn(
    "The agent could not look up the route to a peer; packets to it go through the tunnel.",
    "Correct what the line names.",
  ),
  "plan.failed": error(
    "The agent could not plan the desired state of this host; the kernel's state stays as it is.",
    "Report it together with this line.",
  ),

  "tunnel.failed": error(
    "The udp backend carries no packets; the line has the reason. The agent retries.",
    "If another program holds the device or the port: stop it. If `/dev/net/tun` is missing: `modprobe tun`. " +
      "If another version runs under the same unit: `systemctl stop`, then `start`.",
  ),
  "tunnel.incomplete": error(
    "The udp backend carries packets of one address family only; the agent retries every second.",
    "`ip -6 addr`: is the address tentative or `dadfailed`? Another program may hold the port.",
  ),
  "tunnel.started": info("The udp backend carries packets; the line has the kernel offloads in use."),

  "ways.unknown": verbose(1, "The agent could not ask the kernel for the ways of packets to the peers."),
};
