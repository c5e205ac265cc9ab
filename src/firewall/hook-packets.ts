// The packets that the rules of all programs on this host are tried with: the first ones of a connection between a
// container here and one of a peer, and those of the tunnel around them. Pure.
import {
  type Address,
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../ip/address.ts";
import { addToAddress, containsPrefix, networkAddress, prefixSize } from "../ip/prefix.ts";

/** Where a chain hangs. */
export type Hook = "ingress" | "prerouting" | "input" | "forward" | "output" | "postrouting" | "egress";

/** Undefined: not known, such as a port of the bridge; "": there is none. */
export interface TestPacket {
  readonly family: Family;
  readonly source: Address;
  readonly destination: Address;
  readonly incoming: string | undefined;
  readonly outgoing: string | undefined;
  readonly protocol: "tcp" | "udp";
  /** Missing: any. */
  readonly destinationPort?: number;
}

/** A packet's way through the hooks. */
export interface TestWay {
  /** For people: what of flannel's traffic this is. */
  readonly what: string;
  readonly packet: TestPacket;
  readonly hooks: readonly Hook[];
  /** Of a bridge that it comes in by or leaves through. */
  readonly bridgeHooks: readonly Hook[];
  /** One of the addresses that rules name, not one that stands for all. */
  readonly isOfSingle: boolean;
}

export interface ScanContext {
  readonly networks: readonly Prefix[];
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
  };
}

/** Addresses of rules that are tried one by one, of each side. */
const MAX_SINGLE = 64;

/** `named`: prefixes that rules name as sources or destinations. */
export function testWays(context: ScanContext, named: readonly Prefix[]): TestWay[] {
  return [...context.ownSubnets.flatMap((own) => containerWays(own, named, context)), ...outerWays(context)];
}

function containerWays(own: Prefix, named: readonly Prefix[], context: ScanContext): TestWay[] {
  const family = familyOf(own);
  const network = context.networks.find((candidate) => familyOf(candidate) === family);
  if (network === undefined) return [];
  const ofNetwork = named.filter((prefix) => familyOf(prefix) === family && containsPrefix(network, prefix));
  const isNamed = new Set(ofNetwork.map(prefixAddress));
  const here = unnamed(own, isNamed);
  const there = unnamed(besideOf(own, network), isNamed);
  const [singleHere, singleThere] = [true, false].map((isOwn) =>
    [...new Set(ofNetwork.filter((prefix) => containsPrefix(own, prefix) === isOwn).map(prefixAddress))].slice(
      0,
      MAX_SINGLE,
    ),
  ) as [Address[], Address[]];
  const pairs: { readonly local: Address; readonly remote: Address; readonly isOfSingle: boolean }[] = [
    { local: here, remote: there, isOfSingle: false },
    ...singleHere.map((local) => ({ local, remote: there, isOfSingle: true })),
    ...singleThere.map((remote) => ({ local: here, remote, isOfSingle: true })),
  ];
  const tunnel = context.tunnel[family];
  const { inside } = context;
  return pairs.flatMap(({ local, remote, isOfSingle }): TestWay[] => [
    {
      what: "packets from peers to containers of this host",
      packet: { family, source: remote, destination: local, incoming: tunnel, outgoing: inside, protocol: "tcp" },
      hooks: ["ingress", "prerouting", "forward", "postrouting"],
      bridgeHooks: ["output", "postrouting"],
      isOfSingle,
    },
    {
      what: "packets from containers of this host to peers",
      packet: { family, source: local, destination: remote, incoming: inside, outgoing: tunnel, protocol: "tcp" },
      hooks: ["ingress", "prerouting", "forward", "postrouting", "egress"],
      bridgeHooks: ["prerouting", "input"],
      isOfSingle,
    },
  ]);
}

function outerWays({ outer }: ScanContext): TestWay[] {
  if (outer === undefined) return [];
  const { device, udpPort: destinationPort, addresses } = outer;
  return addresses.flatMap((own): TestWay[] => {
    const family = familyOf(own);
    const peer = addressFromBigInt(addressToBigInt(own) ^ 1n, family);
    const common = { family, protocol: "udp", destinationPort } as const;
    return [
      {
        what: `the tunnel's packets from peers (UDP port ${destinationPort})`,
        packet: { ...common, source: peer, destination: own, incoming: device, outgoing: "" },
        hooks: ["ingress", "prerouting", "input"],
        bridgeHooks: [],
        isOfSingle: false,
      },
      {
        what: `the tunnel's packets to peers (UDP port ${destinationPort})`,
        packet: { ...common, source: own, destination: peer, incoming: "", outgoing: device },
        hooks: ["output", "postrouting", "egress"],
        bridgeHooks: [],
        isOfSingle: false,
      },
    ];
  });
}

/** An address that stands for all: none that a rule names. */
function unnamed(subnet: Prefix, isNamed: ReadonlySet<Address>): Address {
  const last = prefixSize(subnet) - 2n;
  for (let offset = last > 0n ? last : 0n; offset > 0n; offset--) {
    const address = addToAddress(networkAddress(subnet), offset);
    if (!isNamed.has(address)) return address;
  }
  return networkAddress(subnet);
}

/** The subnet of a peer: the one beside ours, if the network has more than one. */
function besideOf(own: Prefix, network: Prefix): Prefix {
  const family = familyOf(own);
  const length = prefixLength(own);
  const bits = BigInt(addressBits(family) - length);
  const beside = makePrefix(addressFromBigInt(addressToBigInt(networkAddress(own)) ^ (1n << bits), family), length);
  return containsPrefix(network, beside) ? beside : own;
}
