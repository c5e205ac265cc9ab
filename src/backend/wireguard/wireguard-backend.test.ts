// What the wireguard backend announces and plans, in upstream's forms, in each mode.
import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import { peerChanges } from "../../host/kinds/wireguard-form.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { HostFacts, IdentityFacts, SecretFile } from "../backend.ts";
import { createBackend, parseConfig } from "../registry.ts";
import { type WireguardIdentity, wireguardIdentity } from "./wireguard-identity.ts";

const ipv4Only = '"Network":"10.5.0.0/16"';
const ipv6Only = '"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const dual = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
const keyOf = (n: number) => Buffer.alloc(32, n).toString("base64");
const identity = { privateKey: keyOf(200), publicKey: keyOf(1) };
const eth0: ExternalInterface = {
  name: "eth0",
  index: 2,
  mtuBytes: 1500,
  isUp: true,
  address: parseAddress("192.0.2.1"),
  publicIp: parseAddress("192.0.2.1"),
  ipv6Address: parseAddress("2001:db8::1"),
  publicIpv6: parseAddress("2001:db8::1"),
};
const facts: HostFacts = { externalInterface: eth0, identity, directPeers: new Set(), occupied: [] };
const own = { subnet: parsePrefix("10.5.1.0/24"), ipv6Subnet: parsePrefix("fd00:5:0:1::/64") };

function backendOf(network: string, keys = "") {
  return createBackend(parseConfig(`{${network},"Backend":{"Type":"wireguard"${keys}}}`).config);
}

function peer(n: number, attributes: Partial<LeaseAttributes> = {}): Lease {
  return {
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
      backendData: { PublicKey: keyOf(n), Port: 51_820 },
      backendV6Data: { PublicKey: keyOf(n), Port: 51_821 },
      ...attributes,
    },
  };
}

function factsOf(other: typeof identity): HostFacts {
  return { ...facts, identity: other };
}

function lines(network: string, keys: string, peers: readonly Lease[], from = facts): string[] {
  return hostStateLines(backendOf(network, keys).plan(own, peers, from).state);
}

const peerLine = (device: string, n: number, endpoint: string, allowed: string) =>
  `wg ${device} peer ${keyOf(n)} endpoint ${endpoint} allowed-ips ${allowed}`;

describe("forms", () => {
  it("announces key and port of each family", () => {
    expect(backendOf(dual).attributes(facts)).toEqual({
      publicIp: "192.0.2.1",
      publicIpv6: "2001:db8::1",
      backendType: "wireguard",
      backendData: { PublicKey: identity.publicKey, Port: 51_820 },
      backendV6Data: { PublicKey: identity.publicKey, Port: 51_821 },
    });
  });

  it("announces for IPv6 the port at which the one device listens", () => {
    const { backendV6Data } = backendOf(dual, ',"Mode":"auto"').attributes(facts);
    expect(backendV6Data).toEqual({ PublicKey: identity.publicKey, Port: 51_820 });
  });

  it("takes 80 bytes of the MTU, and with Overhead exact what each underlay needs", () => {
    expect(backendOf(dual).mtuBytes(facts)).toBe(1420);
    expect(backendOf(dual, ',"MTU":1400').mtuBytes(facts)).toBe(1320);
    const exact = backendOf(dual, ',"Overhead":"exact"');
    expect([exact.mtuBytes(facts), exact.mtuBytes(facts, 6)]).toEqual([1440, 1420]);
    expect(backendOf(dual, ',"Overhead":"exact","Mode":"auto"').mtuBytes(facts)).toBe(1420);
    expect(backendOf(dual, ',"Overhead":"exact","Mode":"ipv4"').mtuBytes(facts, 6)).toBe(1440);
  });
});

describe("a device for each family", () => {
  it("plans devices, keys, peers and routes", () => {
    expect(lines(dual, "", [peer(2)])).toEqual([
      "flannel-wg mtu 1420 type wireguard",
      "flannel-wg-v6 mtu 1420 type wireguard",
      "net.ipv4.conf.flannel-wg.forwarding = 1, rp_filter != 1",
      "net.ipv6.conf.flannel-wg.accept_ra = 0",
      "net.ipv6.conf.flannel-wg-v6.disable_ipv6 = 0",
      "net.ipv6.conf.flannel-wg-v6.accept_ra = 0",
      "inet 10.5.1.0/32 scope global flannel-wg",
      "inet6 fd00:5:0:1::/128 scope global flannel-wg-v6",
      `wg flannel-wg public-key ${identity.publicKey} listen-port 51820`,
      `wg flannel-wg-v6 public-key ${identity.publicKey} listen-port 51821`,
      peerLine("flannel-wg", 2, "192.0.2.2:51820", "10.5.2.0/24"),
      peerLine("flannel-wg-v6", 2, "[2001:db8::2]:51821", "fd00:5:0:2::/64"),
      "10.5.0.0/16 dev flannel-wg scope link",
      "fd00:5::/48 dev flannel-wg-v6 metric 1024 pref medium",
    ]);
  });

  it("has one device in an IPv6-only network", () => {
    expect(backendOf(ipv6Only).devices).toEqual(["flannel-wg-v6"]);
    expect(lines(ipv6Only, "", [peer(2)])).toContain(
      peerLine("flannel-wg-v6", 2, "[2001:db8::2]:51821", "fd00:5:0:2::/64"),
    );
  });

  it("reaches a peer that announces no port, as old versions, at ours", () => {
    const old = peer(2, { backendData: { PublicKey: keyOf(2) } });
    expect(lines(ipv4Only, ',"ListenPort":4000', [old])).toContain(
      peerLine("flannel-wg", 2, "192.0.2.2:4000", "10.5.2.0/24"),
    );
  });

  it("has a route for each peer where a host's address lies inside the network", () => {
    const inside = peer(2, { publicIp: parseAddress("10.5.99.9") });
    const routes = lines(ipv4Only, "", [inside, peer(3)]).filter((line) => line.includes("scope link"));
    expect(routes).toEqual(["10.5.2.0/24 dev flannel-wg scope link", "10.5.3.0/24 dev flannel-wg scope link"]);
  });

  it("skips what cannot be a peer, and says why", () => {
    const bad = [
      peer(2, { backendData: { PublicKey: "nonsense" } }),
      peer(3, { backendData: { PublicKey: identity.publicKey } }),
      peer(4, { backendData: null }),
      peer(5, { backendData: { PublicKey: keyOf(5), Port: 70_000 } }),
      peer(6, { backendData: { PublicKey: keyOf(7) } }),
      peer(7),
    ];
    const { skipped, plannedPeers } = backendOf(ipv4Only).plan(own, bad, facts);
    expect(skipped.map(({ reason }) => reason)).toEqual([
      'PublicKey "nonsense" is not a key of 32 bytes',
      "announces this host's own PublicKey",
      "has no PublicKey",
      "Port 70000 is not a port",
      `${peer(7).key} has the same PublicKey ${keyOf(7)}`,
    ]);
    expect(plannedPeers).toBe(1);
  });
});

describe("one device for both families", () => {
  const shared = (mode: string, one: Lease, from = facts) =>
    lines(dual, `,"Mode":"${mode}"`, [one], from).filter((line) => line.startsWith("wg flannel-wg peer"));
  const allowed = "10.5.2.0/24,fd00:5:0:2::/64";

  it("has one peer with both subnets, over the family of the mode", () => {
    expect(shared("ipv4", peer(2))).toEqual([peerLine("flannel-wg", 2, "192.0.2.2:51820", allowed)]);
    expect(shared("ipv6", peer(2))).toEqual([peerLine("flannel-wg", 2, "[2001:db8::2]:51820", allowed)]);
  });

  it.each([
    ["a public IPv4 address", {}, "192.0.2.2:51820"],
    ["private IPv4, public IPv6", { publicIp: parseAddress("10.9.0.2") }, "[2001:db8::2]:51820"],
    ["both private", { publicIp: parseAddress("10.9.0.2"), publicIpv6: parseAddress("fd01::2") }, "10.9.0.2:51820"],
  ])("auto: %s", (_, attributes, endpoint) => {
    expect(shared("auto", peer(2, attributes))).toEqual([peerLine("flannel-wg", 2, endpoint, allowed)]);
  });

  it("auto: a host without IPv6 uses IPv4", () => {
    const { ipv6Address: _, publicIpv6: __, ...without } = eth0;
    const lease = peer(2, { publicIp: parseAddress("10.9.0.2") });
    expect(shared("auto", lease, { ...facts, externalInterface: without })).toEqual([
      peerLine("flannel-wg", 2, "10.9.0.2:51820", allowed),
    ]);
  });
});

describe("keys of the configuration", () => {
  it.each([
    [',"Mode":"Auto"', "Backend.Mode Auto must be separate, auto, ipv4, ipv6, in lower case"],
    [',"ListenPort":0', "Backend.ListenPort 0 must be from 1 to 65535"],
    [',"ListenPortV6":51820', "Backend.ListenPortV6 51820 must differ from ListenPort"],
    [',"MTU":100', "Backend.MTU 100 must be 0 or at least"],
    [',"Overhead":"50"', 'Backend.Overhead 50 must be "exact" or missing'],
    [',"PersistentKeepaliveInterval":-1', "must be from 0 to 65535"],
  ])("refuses %s", (keys, message) => {
    expect(() => backendOf(dual, keys)).toThrow(message);
  });

  it.each([
    [ipv4Only, "ipv6", "Backend.Mode ipv6 needs EnableIPv6: hosts announce their IPv6 addresses only then"],
    [ipv6Only, "ipv4", "Backend.Mode ipv4 needs EnableIPv4: hosts announce their IPv4 addresses only then"],
  ])("refuses a mode whose addresses nobody announces: %s, %s", (network, mode, message) => {
    expect(() => backendOf(network, `,"Mode":"${mode}"`)).toThrow(message);
  });

  it.each([',"PSK":"not-a-key-but-secret"', ',"PSK":12345678'])("refuses %s without showing it", (keys) => {
    const refused = (() => {
      try {
        return backendOf(dual, keys);
      } catch (error) {
        return JSON.stringify([String(error), error]);
      }
    })();
    expect(refused).toContain("Backend.PSK (hidden) must be");
    expect(refused).not.toMatch(/not-a-key|12345678/);
  });

  it("gives every peer the pre-shared key and keepalive, and shows no secret in a line", () => {
    const secret = keyOf(99);
    const { state } = backendOf(ipv4Only, `,"PSK":"${secret}","PersistentKeepaliveInterval":25`).plan(
      own,
      [peer(2)],
      facts,
    );
    expect(state.wireguardPeer).toMatchObject([{ presharedKey: secret, keepaliveSeconds: 25 }]);
    const text = hostStateLines(state).join("\n");
    expect(text).not.toContain(secret);
    expect(text).not.toContain(identity.privateKey);
  });
});

describe("a pre-shared key in a file", () => {
  const keys = ',"PSKFile":"/etc/flannel/psk"';
  const plan = (file?: SecretFile) => {
    const secrets = file === undefined ? {} : { secrets: new Map([["/etc/flannel/psk", file]]) };
    return backendOf(ipv4Only, keys).plan(own, [peer(2)], { ...facts, ...secrets }).state.wireguardPeer;
  };

  it("is asked for, checked and used", () => {
    const [use] = backendOf(ipv4Only, keys).secretFiles ?? [];
    expect(use?.path).toBe("/etc/flannel/psk");
    expect(use?.faultOf(`${keyOf(9)}\n`)).toBeUndefined();
    expect(use?.faultOf("half-a-key")).toBe("it does not hold 32 bytes in base64, as wg genpsk prints them");
    expect(plan({ text: `${keyOf(9)}\n` })).toMatchObject([{ presharedKey: keyOf(9) }]);
  });

  it("leaves a peer the key that it has while the file cannot be read", () => {
    const [kept] = plan({ problem: "no such file" }) ?? [];
    expect(kept?.presharedKeyProblem).toBe("/etc/flannel/psk: no such file");
    const found = { receivedBytes: 0, sentBytes: 0, presharedKey: keyOf(9) };
    if (kept === undefined) throw new Error("no peer");
    expect(peerChanges(kept, { ...kept, ...found })).toEqual({});
    expect(plan()).toMatchObject([{ presharedKeyProblem: "/etc/flannel/psk: it is not read yet" }]);
  });

  it.each([
    [',"PSKFile":"psk"', "must be the absolute path"],
    [',"PSKFile":"/etc/"', "must be the absolute path"],
    [',"PSKFile":"/etc/a\\u0000b"', "must be the absolute path"],
    [',"PSKFile":5', "must be a string"],
    [`,"PSKFile":"/etc/psk","PSK":"${keyOf(9)}"`, "cannot stand beside PSK"],
  ])("refuses %s", (wrong, message) => {
    expect(() => backendOf(ipv4Only, wrong)).toThrow(message);
  });
});

describe("identity", () => {
  const from = (more: Partial<IdentityFacts> = {}): IdentityFacts => ({
    devices: [],
    links: [],
    randomBytes: (count) => new Uint8Array(count).fill(0xff),
    curve25519PublicKey: (key) => `public of ${key}`,
    ...more,
  });

  it("prefers the file to what is remembered, and makes a clamped key where there is none", () => {
    const file = { path: "/run/flannel/wgkey", content: `${keyOf(3)}\n` };
    expect(wireguardIdentity.restore({ privateKey: keyOf(4) }, from({ file })).privateKey).toBe(keyOf(3));
    expect(wireguardIdentity.restore({ privateKey: keyOf(4) }, from()).privateKey).toBe(keyOf(4));
    const made = Buffer.from(wireguardIdentity.restore("damaged", from()).privateKey, "base64");
    expect([made.length, made[0], made[31]]).toEqual([32, 0xf8, 0x7f]);
  });

  describe("of a host that gets a new key", () => {
    const facts = from({ randomBytes: (count) => new Uint8Array(count).fill(9) });
    const pair = (n: number) => ({ privateKey: keyOf(n), publicKey: `public of ${keyOf(n)}` });
    const announcing = ({ publicKey }: { readonly publicKey: string }) => {
      return { ...peer(1).attributes, backendData: { PublicKey: publicKey, Port: 51_820 } };
    };
    const renewed: WireguardIdentity = wireguardIdentity.renew?.(identity, from()) ?? identity;

    it("announces the new one, and uses the old one until the lease says so", () => {
      expect(renewed.publicKey).toBe(identity.publicKey);
      expect(wireguardIdentity.renew?.(renewed, facts)).toBe(renewed);
      const next = renewed.next ?? identity;
      expect(backendOf(ipv4Only).attributes({ ...factsOf(renewed) }).backendData).toMatchObject({
        PublicKey: next.publicKey,
      });
      expect(wireguardIdentity.settle?.(renewed, announcing(identity))).toBe(renewed);
      expect(wireguardIdentity.matches(renewed, announcing(identity))).toBe(true);
    });

    it.each([
      ["before it was announced", keyOf(3), pair(3)],
      ["before it was used", keyOf(3), pair(3)],
      ["after its file was written", keyOf(4), pair(4)],
      ["after a boot, without a file", undefined, pair(3)],
      ["after the key was replaced", keyOf(5), pair(5)],
    ])("goes on %s", (_, content, expected) => {
      const remembered = { ...pair(3), next: pair(4) };
      const file = content === undefined ? {} : { file: { path: "/run/flannel/wgkey", content } };
      const restored = wireguardIdentity.restore(remembered, { ...facts, ...file });
      expect(restored).toMatchObject(expected);
      expect(restored.next).toEqual(expected.privateKey === keyOf(3) ? pair(4) : undefined);
    });

    it("takes no old key out of a file that has not followed", () => {
      const remembered = { ...pair(4), previousPublicKey: pair(3).publicKey };
      const file = { path: "/run/flannel/wgkey", content: keyOf(3) };
      const isKeyText = { ...facts, curve25519PublicKey: (key: string) => (key === keyOf(3) ? keyOf(13) : keyOf(14)) };
      const known = { ...remembered, previousPublicKey: keyOf(13) };
      expect(wireguardIdentity.restore(known, { ...isKeyText, file }).privateKey).toBe(keyOf(4));
    });
  });

  it("refuses a file without a key, naming it and the cure, not its content", () => {
    const file = { path: "/run/flannel/wgkey", content: "half-a-key" };
    const restore = () => wireguardIdentity.restore(undefined, from({ file }));
    expect(restore).toThrow(/^\/run\/flannel\/wgkey does not hold a WireGuard key .* delete it/);
    expect(restore).not.toThrow("half-a-key");
  });

  it("is recognised in the lease by its public key", () => {
    expect(wireguardIdentity.matches(identity, peer(1).attributes)).toBe(true);
    expect(wireguardIdentity.matches(identity, peer(2).attributes)).toBe(false);
  });
});
