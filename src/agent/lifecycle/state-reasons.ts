// The states of an agent, and every reason against `ready`. Pure.
//   notReady   packets of containers on this host cannot flow, or nobody knows whether the subnet is still ours
//   degraded   they flow, but not to all, or not as safely as wanted
//   ready      no reason against it

export const agentStates = ["ready", "degraded", "notReady"] as const;
export type AgentState = (typeof agentStates)[number];

export interface ReasonDefinition {
  readonly state: Exclude<AgentState, "ready">;
  /** Told at once: it is no flap, and others must not rely on us any longer. */
  readonly isImmediate?: true;
  /** Why it counts as that; for the docs. */
  readonly argument: string;
}

/** Every reason there is. Names are stable. docs/flannelctl.md lists them. */
export const reasonDefinitions = {
  starting: { state: "notReady", argument: "The agent has just started and has no information yet." },
  "no-lease": {
    state: "notReady",
    isImmediate: true,
    argument: "Without a lease this host has no subnet: no container can get an address.",
  },
  "network-failed": {
    state: "notReady",
    argument:
      "With several networks in one agent: this one cannot be opened, or was given up after an error. The agent retries.",
  },
  "network-not-ready": {
    state: "degraded",
    argument:
      "With several networks in one agent: packets of one network cannot flow; those of others flow. The reason names it.",
  },
  "lease-invalid": {
    state: "notReady",
    isImmediate: true,
    argument:
      "The lease has expired, or another agent announces this host's address: another host may lease the subnet.",
  },
  "subnet-claimed": {
    state: "notReady",
    isImmediate: true,
    argument:
      "Another lease covers addresses of this host's subnet: other hosts, at least those with upstream flannel, may send its packets elsewhere.",
  },
  "public-ip-shared": {
    state: "degraded",
    argument:
      "Another lease announces this host's public IP. It may be what a lost host left; but if that host is alive, packets for one of the two reach the other one.",
  },
  "lease-retaken": {
    state: "notReady",
    argument: "The lease was revoked and the agent re-acquires it, which takes a moment; the subnet may change.",
  },
  "lease-unconfirmed": {
    state: "notReady",
    argument:
      "The agent uses its remembered state, and the store has not confirmed the lease since the start. Packets flow; a rolling restart should stop here.",
  },
  "interface-unusable": {
    state: "notReady",
    argument: "The external interface cannot be used; it is the route to all peers.",
  },
  "family-missing": {
    state: "degraded",
    argument:
      "The network uses IPv6 and this host has no IPv6 address that other hosts could use; IPv4 packets flow as usual.",
  },
  "forwarding-off": {
    state: "notReady",
    argument: "The kernel drops every packet from and to containers.",
  },
  "data-plane-failed": {
    state: "notReady",
    argument:
      "With the udp backend the agent carries the packets itself: when it fails, no packets of an address family pass. With the backend of a cloud provider, its route tables do not lead to this host.",
  },
  "own-object-failed": {
    state: "notReady",
    argument: "This host's flannel device, its address or its route is missing: packets reach no peer.",
  },
  "rules-missing": {
    state: "notReady",
    argument:
      "Flannel's traffic rules are missing: other rules may drop packets, or packets leave with addresses that cannot be answered.",
  },
  "subnet-file-missing": {
    state: "notReady",
    argument: "Docker and CNI read the subnet file: new containers get no address, or a wrong one.",
  },
  "peers-unknown": {
    state: "notReady",
    argument: "The agent has just started and has not programmed the known peers yet.",
  },
  "packets-dropped": {
    state: "notReady",
    argument:
      "Outside the hook forward, a rule or policy of another program drops all packets from or to containers, or those of the tunnel: nothing before it accepts them.",
  },
  "no-peer-reached": {
    state: "notReady",
    argument: "There are two peers or more and none could be programmed: the cause is most likely on this host.",
  },
  "all-peers-unreachable": {
    state: "notReady",
    argument:
      "The kernel of this host sends packets for all known peers elsewhere or drops them: its routes, policy rules or settings are the cause.",
  },
  "all-peers-down": {
    state: "notReady",
    argument:
      "There are two peers or more whose state probes know, and packets to none of them arrive: the cause is most likely on this host.",
  },
  "peers-pending": {
    state: "degraded",
    argument: "The agent is programming changed peers; the other peers are reachable.",
  },
  "peer-failed": {
    state: "degraded",
    argument:
      "Kernel objects of some peers could not be programmed, such as a host-gw peer off the link; the other peers are reachable.",
  },
  "peer-unreachable": {
    state: "degraded",
    argument:
      "The kernel of this host sends packets for some peers, or for parts of their subnets, elsewhere or drops them; the others are reachable.",
  },
  "peer-down": {
    state: "degraded",
    argument:
      "Probes of some peers get no answer, or packets pass in one direction alone; the other peers are reachable. A single peer that is down is more likely down itself than a sign of trouble on this host.",
  },
  "peer-mtu": {
    state: "degraded",
    argument:
      "Large packets of containers to some peers get lost: connections open and then hang. Small packets arrive.",
  },
  "peer-skipped": {
    state: "degraded",
    argument:
      "The lease of a peer cannot be used (another backend, an overlap, a wrong value); the other peers are reachable.",
  },
  "lease-unreadable": {
    state: "degraded",
    argument: "A key in the store is not a valid lease: it may belong to a peer.",
  },
  "precaution-failed": {
    state: "degraded",
    argument: "A blackhole route could not be set: packets flow without that precaution.",
  },
  leftover: {
    state: "degraded",
    argument: "A leftover of an earlier configuration could not be removed.",
  },
  "forward-policy": {
    state: "degraded",
    argument:
      "A chain of another program drops forwarded packets that none of its rules accepts: one of its rules may accept flannel's.",
  },
  "lease-not-written": {
    state: "degraded",
    argument:
      "The lease is valid, but the store did not take the last write of it (no space, no permission, no quorum): peers may know outdated data of this host, and new hosts get no subnet.",
  },
  "store-refuses": {
    state: "degraded",
    argument:
      "The store refuses this agent, or its endpoint left the cluster: the agent does not see new peers until that is corrected. Known peers are reachable.",
  },
  "container-drop": {
    state: "degraded",
    argument:
      "A rule of another program drops packets of single containers, such as Docker 28's; the others are reachable.",
  },
  "store-silent": {
    state: "degraded",
    argument:
      "The store has not answered for 5 minutes: the agent does not see new peers, but the lease is valid and known peers are reachable. All hosts are affected at once, so taking them out of service would make it worse.",
  },
} as const satisfies Record<string, ReasonDefinition>;

export type ReasonName = keyof typeof reasonDefinitions;
