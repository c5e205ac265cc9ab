// Static peers of the configuration: what is refused, what is planned on a host, and the configuration made for them.
import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import type { HostFacts } from "../backend.ts";
import { createBackend, parseConfig } from "../registry.ts";
import { exportStaticPeer, staticPeersOf } from "./export-static-peer.ts";

const keyOf = (n: number) => Buffer.alloc(32, n).toString("base64");
const networks = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const laptop = { Name: "laptop", PublicKey: keyOf(50), AllowedIPs: ["10.99.0.2", "fd99::2/128"] };
const gateway = {
  Name: "gateway",
  PublicKey: keyOf(51),
  Endpoint: "198.51.100.7:4500",
  AllowedIPs: ["172.20.0.0/16"],
  PersistentKeepaliveInterval: 20,
};

function configOf(peers: unknown, more: object = {}) {
  const backend = JSON.stringify({ Type: "wireguard", Peers: peers, ...more });
  return parseConfig(`{${networks},"Backend":${backend}}`).config;
}

const identity = { privateKey: keyOf(200), publicKey: keyOf(1) };
const facts: HostFacts = {
  externalInterface: {
    name: "eth0",
    index: 2,
    mtuBytes: 1500,
    isUp: true,
    address: parseAddress("192.0.2.1"),
    publicIp: parseAddress("192.0.2.1"),
  },
  identity,
  directPeers: new Set(),
  occupied: [],
};
const own = { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };
const lease = (n: number, key = keyOf(n)): Lease => ({
  key: `10.5.${n}.0-24&fd00:5:0:${n}::-64`,
  subnet: parsePrefix(`10.5.${n}.0/24`),
  ipv6Subnet: parsePrefix(`fd00:5:0:${n}::/64`),
  revision: revision(n),
  createdAt: revision(n),
  isReservation: false,
  adapterData: 1,
  attributes: {
    publicIp: parseAddress(`192.0.2.${n}`),
    publicIpv6: parseAddress(`2001:db8::${n}`),
    backendType: "wireguard",
    backendData: { PublicKey: key, Port: 51_820 },
    backendV6Data: { PublicKey: key, Port: 51_821 },
  },
});

describe("keys of a static peer", () => {
  it.each([
    [{}, "Backend.Peers {} must be a list, not an object"],
    [["laptop"], "Backend.Peers[0] must be an object, not a JSON string"],
    [[{ ...laptop, AllowedIP: [] }], 'Backend.Peers[0] has no key "AllowedIP"'],
    [[{ ...laptop, PSK: keyOf(1) }], 'has no key "PSK"'],
    [[{ ...laptop, Name: "" }], "Backend.Peers[0].Name"],
    [[{ ...laptop, Name: "a/b" }], "Backend.Peers[0].Name a/b must be up to 63 letters"],
    [[{ ...laptop, Name: "a\nb" }], "must be up to 63 letters"],
    [[{ ...laptop, Name: undefined }], "Backend.Peers[0].Name is missing"],
    [[{ ...laptop, PublicKey: "short" }], "Backend.Peers[0].PublicKey short must be 32 bytes"],
    [[{ ...laptop, Endpoint: "home.example:51820" }], "an address and no name"],
    [[{ ...laptop, Endpoint: "192.0.2.9" }], 'must be "192.0.2.7:51820"'],
    [[{ ...laptop, Endpoint: "2001:db8::1:51820" }], 'must be "192.0.2.7:51820"'],
    [[{ ...laptop, Endpoint: "192.0.2.9:0" }], 'must be "192.0.2.7:51820"'],
    [[{ ...laptop, Endpoint: "192.0.2.9:65536" }], 'must be "192.0.2.7:51820"'],
    [[{ ...laptop, AllowedIPs: [] }], "must be a list of 1 to 64"],
    [[{ ...laptop, AllowedIPs: "10.99.0.2" }], "must be a list of 1 to 64"],
    [[{ ...laptop, AllowedIPs: ["10.99.0.300"] }], "must hold prefixes"],
    [[{ ...laptop, AllowedIPs: ["10.5.7.0/24"] }], "must not overlap the network 10.5.0.0/16"],
    [[{ ...laptop, AllowedIPs: ["0.0.0.0/0"] }], "must not overlap the network 10.5.0.0/16"],
    [[{ ...laptop, AllowedIPs: ["fd00:5:0:9::1"] }], "must not overlap the network fd00:5::/48"],
    [[{ ...laptop, AllowedIPs: ["10.99.0.2", "10.99.0.0/24"] }], "must not overlap 10.99.0.2/32 of the peer laptop"],
    [[laptop, { ...gateway, AllowedIPs: ["10.99.0.0/16"] }], "must not overlap 10.99.0.2/32 of the peer laptop"],
    [[laptop, { ...gateway, Name: "laptop" }], "Backend.Peers[1].Name laptop is that of another entry"],
    [[laptop, { ...gateway, PublicKey: keyOf(50) }], "Backend.Peers[1].PublicKey"],
    [[{ ...gateway, AllowedIPs: ["198.51.100.0/24"] }], "must not hold the peer's own Endpoint"],
    [[{ ...gateway, PersistentKeepaliveInterval: 1.5 }], "must be a whole number from 0 to 65535"],
    [[{ ...gateway, PersistentKeepaliveInterval: "25" }], "must be a whole number from 0 to 65535"],
    [[{ ...laptop, PSKFile: "psk" }], "Backend.Peers[0].PSKFile psk must be the absolute path"],
    [new Array(257).fill(laptop), "Backend.Peers 257 must have at most 256 entries"],
  ])("refuses %j", (peers, message) => {
    expect(() => createBackend(configOf(peers))).toThrow(message);
  });

  it("takes names of keys in any case, and null as missing", () => {
    const peers = [{ name: "laptop", PUBLICKEY: keyOf(50), allowedips: ["10.99.0.2/31"], Endpoint: null }];
    expect(staticPeersOf(configOf(peers))).toEqual([
      { name: "laptop", publicKey: keyOf(50), allowedIps: ["10.99.0.2/31"], keepaliveSeconds: 0 },
    ]);
  });
});

describe("the plan", () => {
  const plan = (peers: unknown, leases: readonly Lease[] = [lease(2)], from = facts) =>
    createBackend(configOf(peers)).plan(own, leases, from);

  it("has each on the first device, with both families and routes", () => {
    const { state, skipped, plannedPeers } = plan([laptop, gateway]);
    expect([skipped, plannedPeers]).toEqual([[], 1]);
    const lines = hostStateLines(state).filter((line) => /99|172\.20|flannel-wg.*disable_ipv6/.test(line));
    expect(lines).toEqual([
      "net.ipv6.conf.flannel-wg.disable_ipv6 = 0",
      "net.ipv6.conf.flannel-wg-v6.disable_ipv6 = 0",
      `wg flannel-wg peer ${keyOf(50)} allowed-ips 10.99.0.2/32,fd99::2/128`,
      `wg flannel-wg peer ${keyOf(51)} endpoint 198.51.100.7:4500 persistent-keepalive 20 allowed-ips 172.20.0.0/16`,
      "10.99.0.2 dev flannel-wg scope link",
      "fd99::2 dev flannel-wg metric 1024 pref medium",
      "172.20.0.0/16 dev flannel-wg scope link",
    ]);
    expect(createBackend(configOf([laptop, gateway])).furtherNetworks).toEqual([
      "10.99.0.2/32",
      "fd99::2/128",
      "172.20.0.0/16",
    ]);
  });

  it.each([
    [
      "this host's address",
      { ...gateway, AllowedIPs: ["192.0.2.0/25"] },
      "would take this host's own address 192.0.2.1",
    ],
    [
      "another host",
      { ...gateway, AllowedIPs: ["2001:db8::/64"] },
      "would take the address 2001:db8::2 of another host",
    ],
    ["a host's key", { ...laptop, PublicKey: keyOf(2) }, `has the PublicKey ${keyOf(2)} of a host`],
    ["our own key", { ...laptop, PublicKey: keyOf(1) }, `has the PublicKey ${keyOf(1)} of a host`],
    ["what is in use", { ...laptop, AllowedIPs: ["172.31.0.0/24"] }, "would take 172.31.0.1, the gateway"],
  ])("leaves out one that takes %s, and keeps the others", (_, bad, reason) => {
    const occupied = [{ prefix: parsePrefix("172.31.0.1/32"), what: "172.31.0.1, the gateway", isConnected: false }];
    const { state, skipped } = plan([bad, { ...gateway, Name: "other", PublicKey: keyOf(60) }], [lease(2)], {
      ...facts,
      occupied,
    });
    expect(skipped).toEqual([{ key: `static peer ${bad.Name}`, reason: expect.stringContaining(reason) as string }]);
    expect(state.wireguardPeer?.map(({ publicKey }) => publicKey)).toContain(keyOf(60));
  });

  it("leaves the hosts' pre-shared key to the hosts; a static peer has a file of its own", () => {
    const secrets = new Map([["/etc/psk", { text: keyOf(77) }]]);
    const peers = [laptop, { ...gateway, PSKFile: "/etc/psk" }];
    const { state } = createBackend(configOf(peers, { PSK: keyOf(78) })).plan(own, [lease(2)], { ...facts, secrets });
    const keys = Object.fromEntries((state.wireguardPeer ?? []).map((peer) => [peer.publicKey, peer.presharedKey]));
    expect(keys).toMatchObject({ [keyOf(2)]: keyOf(78), [keyOf(51)]: keyOf(77) });
    expect(keys[keyOf(50)]).toBeUndefined();
  });
});

describe("the exported configuration", () => {
  const exported = (
    name: string,
    config = configOf([laptop, { ...gateway, PSKFile: "/etc/psk" }], { PSK: keyOf(78) }),
  ) => {
    const peer = staticPeersOf(config).find((one) => one.name === name);
    if (peer === undefined) throw new Error("no such peer");
    return exportStaticPeer(peer, config, [lease(2), lease(3, "nonsense")], 4);
  };

  it("has every host, and names what could not be put in", () => {
    const { text, hosts, skipped } = exported("laptop");
    expect(text.split("\n").slice(3)).toEqual([
      "[Interface]",
      "Address = 10.99.0.2/32, fd99::2/128",
      "PostUp = wg set %i private-key /etc/wireguard/laptop.key",
      "",
      "[Peer]",
      `# ${lease(2).key}`,
      `PublicKey = ${keyOf(2)}`,
      "Endpoint = 192.0.2.2:51820",
      "AllowedIPs = 10.5.2.0/24, fd00:5:0:2::/64",
      "PersistentKeepalive = 25",
      "",
    ]);
    expect(hosts).toEqual([lease(2).key]);
    expect(skipped).toEqual([{ key: lease(3).key, reason: 'PublicKey "nonsense" is not a key of 32 bytes' }]);
  });

  it("names files instead of secrets", () => {
    const { text } = exported("gateway");
    expect(text).toContain("ListenPort = 4500\n");
    expect(text).toContain(`PostUp = wg set %i peer ${keyOf(2)} preshared-key /etc/wireguard/gateway.psk\n`);
    expect(text).toContain("PersistentKeepalive = 20\n");
    expect(text).not.toContain(keyOf(78));
  });
});
