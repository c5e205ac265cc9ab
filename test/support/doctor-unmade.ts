// Causes that no lab test of `flannelctl doctor` makes, and where what they look at is tested instead: for docs/doctor.md, and for the
// test that no cause is forgotten.

/** Made by tests of their own in test/lab/doctor.test.ts, beside the list of troubles. */
export const madeBesides: readonly string[] = [
  ...["lease-duplicate-ip", "mixed-version", "lease-pool-empty", "lease-lost", "store-unreachable"],
  ...["rules-flushed", "network-manager-flush", "privilege-denied"],
];

export const unmadeCauses: Readonly<Record<string, string>> = {
  "kernel-module-missing":
    "the machine's kernel has the modules; the question to the kernel is tested in a second one that lacks them",
  "ipsec-daemon": "tests of the ipsec backend take strongSwan away",
  "udp-device": "tests of the udp backend take /dev/net/tun away",
  "conntrack-full": "the limit is of the whole machine: made in a second kernel by the long tests",
  "neighbour-gc": "the limit is of the whole machine: made in a second kernel by the long tests",
  "nexthop-offlink": "tests of host-gw put a router between two hosts",
  "external-mtu": "read from the interface; unit tests",
  "source-check": "made with host-gw by the long tests",
  "packet-drop": "tests of the hook scan make rules of every kind",
  "container-drop": "tests of the hook scan make rules of every kind",
  "rules-unreadable": "tests of traffic rules make such tables",
  "container-leftover": "tests of CNI leave interfaces behind",
  "kube-access": "made on a node of a real API server",
  "kube-podcidr": "made on a node of a real API server",
  "lease-taken": "tests of leases against upstream flannel",
  "lease-overlap": "tests of leases write such leases",
  "wg-handshake": "made with wireguard by the long tests",
  "secret-file": "tests of the wireguard backend take the file away",
  configuration: "tests of the configuration change it while the agent runs",
};
