// The packets that the rules of all programs on this host are tried with: those between the containers here and those of peers,
// and those of the tunnel around them. A packet stands for many: its addresses are sets. Pure.
import { type Address, type Family, familyOf, type Prefix } from "../ip/address.ts";
import { AddressSet, rangeOf } from "./address-set.ts";

/** Where a chain hangs. */
export type Hook = "ingress" | "prerouting" | "input" | "forward" | "output" | "postrouting" | "egress";

export interface TestPacket {
  readonly family: Family;
  /** Undefined: nobody knows. */
  readonly source: AddressSet | undefined;
  readonly destination: AddressSet | undefined;
  /** Undefined: not known, such as a port of the bridge; "": there is none. */
  readonly incoming: string | undefined;
  readonly outgoing: string | undefined;
  readonly protocol: "tcp" | "udp" | "icmp";
  /** Missing: any. */
  readonly destinationPort?: number;
  /** For the connection tracking of the kernel. */
  readonly state: "new" | "established";
  /** RTN_UNICAST, RTN_LOCAL: what the kernel's routes call the addresses. */
  readonly sourceType: "unicast" | "local";
  readonly destinationType: "unicast" | "local";
}

/** A packet's way through the hooks. */
export interface TestWay {
  /** For people: what of flannel's traffic this is. */
  readonly what: string;
  readonly packet: TestPacket;
  readonly hooks: readonly Hook[];
  /** Of a bridge that it comes in by or leaves through. */
  readonly bridgeHooks: readonly Hook[];
}

export interface ScanContext {
  readonly networks: readonly Prefix[];
  /** Missing for a family: that of the network is taken. */
  readonly ownSubnets: readonly Prefix[];
  /** By which packets of peers arrive, and through which those for peers leave; undefined: not known. */
  readonly tunnel: Readonly<Partial<Record<Family, string>>>;
  /** Behind which containers are. */
  readonly inside: string | undefined;
  /** Around which the tunnel's packets are made; missing: there is none in the kernel or in user space. */
  readonly outer?: {
    readonly device: string;
    readonly udpPort: number;
    readonly addresses: readonly Address[];
    /** Public addresses of the peers. */
    readonly peers: readonly Address[];
  };
}

/** One packet that is asked about. */
export interface SinglePacket extends Pick<TestPacket, "incoming" | "outgoing" | "protocol" | "destinationPort"> {
  readonly source: Address;
  readonly destination: Address;
  /** `forwarded` through this host, `received` by it, `sent` by it. */
  readonly way: "forwarded" | "received" | "sent";
}

const hooksOf: Readonly<Record<SinglePacket["way"], readonly Hook[]>> = {
  forwarded: ["ingress", "prerouting", "forward", "postrouting", "egress"],
  received: ["ingress", "prerouting", "input"],
  sent: ["output", "postrouting", "egress"],
};

/** As the first packet of a connection. */
export function wayOf(asked: SinglePacket): TestWay {
  const { source, destination, way, ...rest } = asked;
  const family = familyOf(source);
  return {
    what: `the packet from ${source} to ${destination}`,
    packet: {
      ...rest,
      family,
      source: AddressSet.ofAddresses(family, [source]),
      destination: AddressSet.ofAddresses(family, [destination]),
      state: "new",
      sourceType: way === "sent" ? "local" : "unicast",
      destinationType: way === "received" ? "local" : "unicast",
    },
    hooks: hooksOf[way],
    bridgeHooks: [],
  };
}

type Variant = Pick<TestPacket, "protocol" | "state">;

const variants: readonly (Variant & { readonly suffix: string })[] = [
  { protocol: "tcp", state: "new", suffix: "" },
  { protocol: "tcp", state: "established", suffix: " (of open connections)" },
  { protocol: "udp", state: "new", suffix: " (UDP)" },
];

export function testWays(context: ScanContext): TestWay[] {
  return [...context.networks.flatMap((network) => containerWays(network, context)), ...outerWays(context)];
}

function containerWays(network: Prefix, context: ScanContext): TestWay[] {
  const family = familyOf(network);
  const own = context.ownSubnets.find((subnet) => familyOf(subnet) === family);
  const here = AddressSet.ofPrefix(own ?? network);
  const others = own === undefined ? here : AddressSet.ofPrefix(network).without(rangeOf(own));
  const there = others.size === 0n ? here : others;
  const tunnel = context.tunnel[family];
  const { inside } = context;
  const common = { family, sourceType: "unicast", destinationType: "unicast" } as const;
  return variants.flatMap(({ protocol, state, suffix }): TestWay[] => [
    {
      what: `packets from peers to containers of this host${suffix}`,
      packet: { ...common, protocol, state, source: there, destination: here, incoming: tunnel, outgoing: inside },
      hooks: ["ingress", "prerouting", "forward", "postrouting"],
      bridgeHooks: ["output", "postrouting"],
    },
    {
      what: `packets from containers of this host to peers${suffix}`,
      packet: { ...common, protocol, state, source: here, destination: there, incoming: inside, outgoing: tunnel },
      hooks: ["ingress", "prerouting", "forward", "postrouting", "egress"],
      bridgeHooks: ["prerouting", "input"],
    },
  ]);
}

function outerWays({ outer }: ScanContext): TestWay[] {
  if (outer === undefined) return [];
  const { device, udpPort: destinationPort, addresses } = outer;
  return addresses.flatMap((address): TestWay[] => {
    const family = familyOf(address);
    const own = AddressSet.ofAddresses(family, [address]);
    const known = AddressSet.ofAddresses(family, outer.peers);
    const peers = known.size === 0n ? undefined : known;
    const common = { family, protocol: "udp", destinationPort, state: "new" } as const;
    return [
      {
        what: `the tunnel's packets from peers (UDP port ${destinationPort})`,
        packet: {
          ...common,
          ...{ source: peers, destination: own, incoming: device, outgoing: "" },
          ...{ sourceType: "unicast", destinationType: "local" },
        },
        hooks: ["ingress", "prerouting", "input"],
        bridgeHooks: [],
      },
      {
        what: `the tunnel's packets to peers (UDP port ${destinationPort})`,
        packet: {
          ...common,
          ...{ source: own, destination: peers, incoming: "", outgoing: device },
          ...{ sourceType: "local", destinationType: "unicast" },
        },
        hooks: ["output", "postrouting", "egress"],
        bridgeHooks: [],
      },
    ];
  });
}
