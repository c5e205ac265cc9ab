import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { revision } from "../../test/support/revision.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { Lease } from "../lease/lease.ts";
import type { HostFacts } from "./backend.ts";
import type { PeerReach } from "./peer-reach.ts";
import { createBackend, parseConfig } from "./registry.ts";
import { SettledPeers } from "./settled-peers.ts";

const networks = [
  '"Network":"10.5.0.0/16"',
  '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"',
] as const;
const backends = [
  '"Type":"vxlan"',
  '"Type":"vxlan","DirectRouting":true',
  '"Type":"host-gw"',
  '"Type":"ipip"',
  '"Type":"ipip","DirectRouting":true',
  '"Type":"wireguard"',
  '"Type":"wireguard","Mode":"auto","PersistentKeepaliveInterval":25',
] as const;
const keyOf = (octet: number) => Buffer.alloc(32, octet).toString("base64");
const facts: HostFacts = {
  externalInterface: {
    ...{ name: "eth0", index: 2, mtuBytes: 1_500, isUp: true },
    ...{ address: parseAddress("192.0.2.1"), publicIp: parseAddress("192.0.2.1") },
    ...{ ipv6Address: parseAddress("2001:db8::1"), publicIpv6: parseAddress("2001:db8::1") },
  },
  identity: {
    ...{ vtepMac: "02:00:00:00:00:01", vtepMacV6: "02:00:00:00:01:01" },
    ...{ privateKey: keyOf(200), publicKey: keyOf(1) },
  },
  directPeers: new Set([parseAddress("192.0.2.7")]),
  occupied: [{ prefix: parsePrefix("10.5.200.0/21"), what: "docker0", isConnected: true }],
};
const own = { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };

interface Write {
  readonly subnet: string;
  readonly host: number;
  readonly mac: number;
  /** Undefined: that of the backend which plans. */
  readonly type: string | undefined;
  /** Undefined: the lease goes. */
  readonly isPut: boolean;
}

/** Plain hosts most of the time; else overlaps, hosts inside the network, one MAC twice, other backends. */
const write: fc.Arbitrary<Write> = fc.record({
  subnet: fc.oneof(
    { weight: 8, arbitrary: fc.nat({ max: 12 }).map((at) => `10.5.${at}.0-24`) },
    fc.constantFrom("10.5.2.0-23", "10.5.201.0-24", "10.6.0.0-24"),
  ),
  host: fc.nat({ max: 30 }),
  mac: fc.nat({ max: 40 }),
  type: fc.oneof({ weight: 20, arbitrary: fc.constant(undefined) }, fc.constantFrom("vxlan", "host-gw", "ipip", "udp")),
  isPut: fc.boolean(),
});

function leaseOf({ subnet, host, mac, type }: Write, at: number, ownType: string): Lease {
  const [block = "", length = ""] = subnet.split("-");
  const third = Number(block.split(".")[2]);
  const octet = mac.toString(16).padStart(2, "0");
  return {
    key: subnet,
    subnet: parsePrefix(`${block}/${length}`),
    ipv6Subnet: parsePrefix(`fd00:5:0:${third.toString(16)}::/64`),
    ...{ revision: revision(at), createdAt: revision(at), isReservation: false, adapterData: 1 },
    attributes: {
      publicIp: parseAddress(host === 30 ? "10.5.9.9" : `192.0.2.${host}`),
      publicIpv6: parseAddress(`2001:db8::${host}`),
      backendType: type ?? ownType,
      backendData: { VNI: 1, VtepMAC: `02:00:00:00:00:${octet}`, PublicKey: keyOf(mac), Port: 51_820 },
      backendV6Data: {
        ...{ VNI: 1, VtepMAC: `02:00:00:00:01:${octet}`, PublicKey: keyOf(mac), Port: 51_821 },
        // Some hosts have no IPv6 tunnel of ipip.
        ...(host % 7 > 0 && { Tunnel: "ip6tnl" }),
      },
    },
  };
}

test("a backend that follows a few changes plans what one without a past plans", () => {
  const sequence = fc.array(fc.array(write, { maxLength: 3 }), { maxLength: 12 });
  fc.assert(
    fc.property(fc.constantFrom(...networks), fc.constantFrom(...backends), sequence, (network, kind, steps) => {
      const config = `{${network},"Backend":{${kind}}}`;
      const fresh = () => createBackend(parseConfig(config).config);
      const backend = fresh();
      const leases = new Map<string, Lease>();
      let at = 1;
      for (const step of steps) {
        for (const one of step) {
          if (one.isPut) leases.set(one.subnet, leaseOf(one, ++at, backend.type));
          else leases.delete(one.subnet);
        }
        const peers = [...leases.values()];
        const planned = backend.plan(own, peers, facts);
        backend.plan(own, [], facts); // as for what is our own, between two plans
        expect(planned).toEqual(fresh().plan(own, peers, facts));
      }
    }),
    propertyRuns(5_000),
  );
});

test("one lease that comes is judged alone, and so is one that goes", () => {
  const context = (leases: readonly Lease[]) => ({
    ...{ network: parsePrefix("10.5.0.0/16"), ownSubnet: own.subnet, external: facts.externalInterface },
    ...{ occupied: facts.occupied, leases },
  });
  const reached: string[] = [];
  const read = (lease: Lease) => {
    reached.push(lease.key);
    const { subnet = own.subnet, attributes } = lease;
    return { lease, subnet, lengthBits: 24, publicIp: attributes.publicIp ?? parseAddress("192.0.2.99") };
  };
  const leases = Array.from({ length: 100 }, (_, at) =>
    leaseOf({ subnet: `10.5.${at + 2}.0-24`, host: at % 20, mac: at + 2, type: undefined, isPut: true }, at, "host-gw"),
  );
  const inputs = (ours: readonly Lease[]) => ({ ours, context: context(ours), others: [] });
  const settled = new SettledPeers<PeerReach>();
  settled.remember(inputs(leases), leases.map(read), ({ lease }) => lease.key);
  reached.length = 0;
  const [gone, ...left] = leases;
  expect(settled.judge(inputs(left), read)).toHaveLength(99);
  expect(reached).toEqual([]);
  expect(settled.judge(inputs([...left, ...(gone === undefined ? [] : [gone])]), read)).toHaveLength(100);
  expect(reached).toEqual(["10.5.2.0-24"]);
  expect(settled.judge({ ...inputs(left), others: ["another MAC"] }, read)).toBeUndefined();
});

test("wireguard keeps the object of each peer that did not change", () => {
  const leases = Array.from({ length: 50 }, (_, at) =>
    leaseOf(
      { subnet: `10.5.${at + 2}.0-24`, host: at + 40, mac: at + 2, type: undefined, isPut: true },
      at,
      "wireguard",
    ),
  );
  for (const keys of ["", ',"Mode":"auto"']) {
    const backend = createBackend(parseConfig(`{${networks[1]},"Backend":{"Type":"wireguard"${keys}}}`).config);
    const before = new Set(backend.plan(own, leases.slice(1), facts).state.wireguardPeer);
    const after = backend.plan(own, leases, facts).state.wireguardPeer ?? [];
    const devices = keys === "" ? 2 : 1;
    expect(before.size).toBe(49 * devices);
    expect(after.filter((peer) => !before.has(peer))).toHaveLength(devices);
  }
});
