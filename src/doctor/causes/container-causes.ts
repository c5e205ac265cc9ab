// Causes between the host and its containers.
import type { Cause } from "../cause.ts";

export const containerCauses = {
  "subnet-env-missing": {
    meaning: "The subnet file is missing, or says something else than the lease.",
    effect: "new containers get no address, or a wrong one",
    looksAt: "the subnet file against the lease",
    alike: "the first seconds after a boot",
    fix: "auto",
    isQuiet: true,
  },
  "bridge-address-stale": {
    meaning: "The bridge of the containers has no address of this host's subnet: its containers must be re-created.",
    effect: "no container of this host is reached, while the host is",
    looksAt: "addresses of the bridge against the lease, and what is attached to it",
    alike: "a host without containers, and bridges of other programs",
    fix: "no",
    explains: [
      "lost-on-this-host",
      "peer-unreachable",
      "policy-rule",
      "container-route",
      "network-overlap",
      "docker-bip-mismatch",
      "rp-filter-strict",
    ],
  },
  "docker-bip-mismatch": {
    meaning: "Docker's bridge is not in this host's subnet, although Docker is to use flannel.",
    effect: "containers have the same addresses on all hosts",
    looksAt: "the address of docker0, how Docker is configured, and whether anything else uses the lease",
    alike: "Docker beside a CNI plugin, for other things",
    fix: "no",
  },
  "port-detached": {
    meaning: "The interface of a container is not attached to the bridge, or the bridge does not forward from it.",
    effect: "one container is not reached",
    looksAt: "the bridge, and the interfaces of containers: bridge, carrier, state of the port",
    alike: "plugins without a bridge, which route to each container",
    fix: "ask",
    explains: ["container-route", "lost-on-this-host", "peer-unreachable"],
  },
  "container-route": {
    meaning: "A container has no route to the network, or a wrong prefix length.",
    effect: "one container reaches nobody on other hosts",
    looksAt: "addresses and routes in the network namespaces of containers",
    fix: "no",
  },
  "container-leftover": {
    meaning: "An interface of the containers' bridge belongs to no container that a runtime knows.",
    effect: "nothing, or an address that is taken",
    looksAt: "interfaces of the bridge against what the container runtime knows",
    fix: "no",
    isQuiet: true,
  },
  "ipam-exhausted": {
    meaning: "Nearly all addresses for containers of this host are reserved, or all: new containers get none.",
    effect: "new containers do not start",
    looksAt: "reservations of the plugin host-local against the size of the subnet",
    alike: "hosts with many containers, up to nine tenths",
    fix: "no",
    isQuiet: true,
  },
  "pmtu-blackhole": {
    meaning:
      "Containers have a larger MTU than the network, so that their large packets depend on ICMP, which may be dropped.",
    effect: "connections open and hang at the first large packet",
    looksAt: "MTUs of the interfaces of containers against that of the network, and rules that drop the ICMP message",
    alike: "a bridge with a larger MTU whose containers have that of the network",
    fix: "no",
    isQuiet: true,
  },
  "bridge-mtu": {
    meaning: "Containers of this host have a smaller MTU than the network has now, or an interface's two ends differ.",
    effect: "containers of this host get small packets only",
    looksAt:
      "MTUs of the bridge and its interfaces against that of the network, and against the other ends in the containers",
    fix: "no",
    isQuiet: true,
  },
  "cni-config": {
    meaning: "The CNI configuration that container runtimes use is not flannel's, or is missing.",
    effect: "new pods get no address, or one of another network",
    looksAt: "the first file in /etc/cni/net.d, on hosts where flannel's file is there too",
    fix: "no",
    isQuiet: true,
  },
} as const satisfies Record<string, Cause>;
