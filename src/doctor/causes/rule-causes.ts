// Causes in traffic rules: those of other programs, and what keeps the agent from its own.
import type { Cause } from "../cause.ts";

const allPackets = ["lost-on-this-host", "peer-unreachable", "fragments-dropped", "mtu-path-smaller"] as const;

export const ruleCauses = {
  "early-drop": {
    meaning: "A program drops packets of the tunnel at the device, before any rule that iptables shows.",
    effect: "no packet arrives from peers, or none leaves, although hosts reach each other",
    looksAt: "chains of nftables in the family netdev; echoes through the tunnel that do not leave this host",
    alike: "packets that wait for a next hop which does not answer",
    fix: "no",
    explains: [...allPackets, "underlay-down"],
  },
  "port-drop": {
    meaning: "A rule or a policy of this host drops packets of the tunnel.",
    effect: "hosts reach each other, containers do not",
    looksAt:
      "every chain at the hooks prerouting, input, output and postrouting, tried with packets at the backend's port",
    alike: "a policy drop with a rule before it that accepts",
    fix: "no",
    explains: allPackets,
  },
  "destination-rewritten": {
    meaning: "A rule of this host gives packets of the tunnel, or packets between containers, another destination.",
    effect: "they arrive at a wrong program or host, and connections fail",
    looksAt:
      "chains of type nat at the hooks prerouting and output, tried with packets between containers and at the backend's port",
    alike: "rules for services and published ports: these are for other addresses",
    fix: "no",
    explains: allPackets,
  },
  "docker28-raw-drop": {
    meaning: "Docker 28 and newer accepts packets for a container from its own bridge only.",
    effect: "containers of this host are not reached from other hosts",
    looksAt: "rules that drop packets for containers of this host unless they come from one bridge",
    fix: "no",
    explains: allPackets,
  },
  "forward-drop": {
    meaning: "A chain of another program drops forwarded packets.",
    effect: "containers of this host reach each other, but not those of other hosts",
    looksAt: "every chain at the hook forward, in every table, tried with packets between containers",
    alike: "a policy drop with rules before it that accept flannel's packets",
    fix: "no",
    explains: allPackets,
  },
  "bridge-drop": {
    meaning: "A rule drops packets between the host and its containers at the bridge.",
    effect: "the host itself is reached, its containers are not",
    looksAt: "chains of the family bridge, and those of mangle behind the routing, tried with packets of containers",
    fix: "no",
    explains: allPackets,
  },
  "packet-drop": {
    meaning: "A rule of another program drops packets of containers.",
    effect: "containers are not reached",
    looksAt: "every other chain, tried with packets between containers",
    fix: "no",
    explains: allPackets,
  },
  "container-drop": {
    meaning: "A rule of another program drops packets of single containers.",
    effect: "some containers are not reached",
    looksAt: "rules that name single addresses of the network",
    fix: "no",
    explains: allPackets,
  },
  "masquerade-wrong": {
    meaning: "A rule of another program masquerades packets between containers.",
    effect: "servers see the address of a host instead of the container's",
    looksAt: "rules that change the source in nat postrouting of iptables, before flannel's",
    alike: "rules for one source, one device or destinations outside of the network",
    fix: "no",
    isQuiet: true,
  },
  "rules-unreadable": {
    meaning:
      "Traffic rules of this host cannot be read completely: the agent leaves that table unchanged, so its own rules may be missing.",
    effect: "the agent's rules are not written",
    looksAt: "what iptables and nft say when they list their rules",
    fix: "auto",
    isQuiet: true,
  },
  "xtables-lock": {
    meaning: "Another program has held the lock of iptables for longer than a second; traffic rules wait for it.",
    effect: "rules come late, commands hang",
    looksAt: "/proc/locks for /run/xtables.lock, twice",
    alike: "kube-proxy, which holds it for moments",
    fix: "no",
    isQuiet: true,
    explains: ["rules-unreadable"],
  },
  "rules-flushed": {
    meaning: "Another program keeps removing flannel's traffic rules.",
    effect: "connections fail for a moment, again and again; the agent restores the rules",
    looksAt: "repairs of traffic rules in the last minutes, and their period",
    alike: "one reload of a firewall",
    fix: "auto",
    isQuiet: true,
  },
  "icmp-filtered": {
    meaning: "This host answers no echo, so whoever monitors it takes it for dead.",
    effect: "nothing but red monitors; path MTU discovery may suffer",
    looksAt: "icmp_echo_ignore_all, and all chains tried with an echo request from a peer",
    fix: "no",
    isQuiet: true,
    // Answers to this host's own echoes may be dropped as well.
    explains: ["lost-on-this-host", "peer-unreachable", "underlay-oneway"],
  },
} as const satisfies Record<string, Cause>;
