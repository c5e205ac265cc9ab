// What the ipsec backend announces, plans and tells charon, in upstream's forms; bad keys refused without showing them.
import { describe, expect, it } from "vitest";
import { revision } from "../../../test/support/revision.ts";
import { hostStateLines } from "../../host/kinds/host-state.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { connectionMessage, type IpsecState, sharedKeyMessage } from "../../ipsec/connection.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { HostFacts } from "../backend.ts";
import { createBackend, parseConfig } from "../registry.ts";

const psk = "s".repeat(96);
const eth0: ExternalInterface = {
  name: "eth0",
  index: 2,
  mtuBytes: 1500,
  isUp: true,
  address: parseAddress("192.0.2.1"),
  publicIp: parseAddress("203.0.113.1"),
};
const facts: HostFacts = {
  externalInterface: eth0,
  identity: undefined,
  directPeers: new Set(),
  occupied: [],
  hasKernelEsp: true,
};
const own = { subnet: parsePrefix("10.5.1.0/24") };

function backendOf(keys: Record<string, unknown> = {}, network = '"Network":"10.5.0.0/16"') {
  const backend = JSON.stringify({ Type: "ipsec", PSK: psk, ...keys });
  return createBackend(parseConfig(`{${network},"Backend":${backend}}`).config);
}

function peer(n: number, attributes: Partial<LeaseAttributes> = {}): Lease {
  return {
    key: `10.5.${n}.0-24`,
    subnet: parsePrefix(`10.5.${n}.0/24`),
    revision: revision(n),
    createdAt: revision(n),
    isReservation: false,
    adapterData: 1,
    attributes: { publicIp: parseAddress(`192.0.2.${n}`), backendType: "ipsec", ...attributes },
  };
}

describe("forms", () => {
  it("announces type and public IP", () => {
    expect(backendOf().attributes(facts)).toEqual({ publicIp: "203.0.113.1", backendType: "ipsec" });
  });

  it("takes upstream's bytes of the MTU", () => {
    expect(backendOf().mtuBytes(facts)).toBe(1423);
    expect(backendOf({ UDPEncap: true }).mtuBytes(facts)).toBe(1415);
    expect(backendOf().mtuBytes({ ...facts, hasKernelEsp: false })).toBe(1400);
  });

  it("plans upstream's three policies for each peer, bound to the address that this host has", () => {
    const plan = backendOf().plan(own, [peer(2)], facts);
    const to = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 11 mode tunnel";
    const from = "tmpl src 192.0.2.2 dst 192.0.2.1 proto esp reqid 11 mode tunnel";
    expect(hostStateLines(plan.state)).toEqual([
      `xfrm policy src 10.5.1.0/24 dst 10.5.2.0/24 dir out priority 0 ${to}`,
      `xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir in priority 0 ${from}`,
      `xfrm policy src 10.5.2.0/24 dst 10.5.1.0/24 dir fwd priority 0 ${from}`,
    ]);
    expect(plan.plannedPeers).toBe(1);
  });

  it("plans a route into charon's device, and one behind it that drops, where the kernel has no ESP", () => {
    const { state } = backendOf().plan(own, [peer(2)], { ...facts, hasKernelEsp: false });
    expect(hostStateLines(state)).toEqual([
      "10.5.0.0/16 dev ipsec0 proto 241 scope link",
      "blackhole 10.5.0.0/16 proto 241 metric 65535",
    ]);
  });

  it("skips what is not for it, in words that name the lease", () => {
    const leases = [peer(2, { backendType: "vxlan" }), peer(3, { publicIp: parseAddress("192.0.2.1") }), peer(4)];
    const { skipped, plannedPeers } = backendOf().plan(own, leases, facts);
    expect(skipped).toEqual([
      { key: "10.5.2.0-24", reason: 'has backend type "vxlan", not ipsec' },
      { key: "10.5.3.0-24", reason: "announces this host's own address 192.0.2.1" },
    ]);
    expect(plannedPeers).toBe(1);
  });
});

describe("what charon gets", () => {
  const state = backendOf().plan(own, [peer(2)], facts).runtime as IpsecState;

  it("is upstream's connection", () => {
    expect(connectionMessage(state, state.peers[0] ?? expect.fail())).toEqual({
      "203.0.113.1-10.5.1.0/24-10.5.2.0/24-192.0.2.2": {
        local_addrs: ["192.0.2.1"],
        remote_addrs: ["192.0.2.2"],
        proposals: ["aes256-sha256-modp4096"],
        version: "2",
        encap: "false",
        keyingtries: "0",
        rekey_time: "",
        local: { auth: "psk", id: "" },
        remote: { auth: "psk", id: "" },
        children: {
          "10.5.1.0/24-10.5.2.0/24": {
            local_ts: ["10.5.1.0/24"],
            remote_ts: ["10.5.2.0/24"],
            esp_proposals: ["aes128gcm16-sha256-prfsha256-ecp256"],
            start_action: "none",
            close_action: "trap",
            dpd_action: "restart",
            mode: "tunnel",
            reqid: "11",
            rekey_time: "1h",
            policies: "no",
          },
        },
      },
    });
  });

  it("is one key for each host", () => {
    expect(sharedKeyMessage(state, parseAddress("192.0.2.2"))).toEqual({
      id: "flannel-10.5.0.0/16-192.0.2.2",
      type: "IKE",
      data: psk,
      owners: ["192.0.2.2"],
    });
  });
});

describe("bad keys", () => {
  it.each([
    [{ PSK: "" }, "Backend.PSK", "at least 96 characters"],
    [{ PSK: "tooshort-secret" }, "Backend.PSK", "at least 96 characters; it has 15"],
    [{ PSK: 7 }, "Backend.PSK", "must be"],
    [{ UDPEncap: "yes" }, "Backend.UDPEncap", "must be"],
    [{ UDPEncap: 1 }, "Backend.UDPEncap", "must be true or false, not a number"],
    [{ PSK: [psk] }, "Backend.PSK", "must be a string, not an array"],
    [{ ESPProposal: 128 }, "Backend.ESPProposal", "must be a string, not a number"],
    [{ ESPProposal: "x".repeat(501) }, "Backend.ESPProposal", "must be one proposal"],
    [{ ESPProposal: "" }, "Backend.ESPProposal", "must be one proposal"],
    [{ ESPProposal: "aes128, aes256" }, "Backend.ESPProposal", "must be one proposal"],
  ])("%j", (keys, key, rule) => {
    const create = () => backendOf(keys);
    expect(create).toThrow(key);
    expect(create).toThrow(rule);
    const secret = "PSK" in keys && typeof keys.PSK === "string" && keys.PSK !== "" ? keys.PSK : psk;
    expect(create).not.toThrow(secret);
  });

  it("a key without end is refused", () => {
    expect(() => backendOf({ PSK: "x".repeat(5_000) })).toThrow(
      /Backend.PSK \(hidden\) must have at most 4096 characters/,
    );
  });

  it("an IPv6-only network is refused with a way out", () => {
    const ipv6Only = '"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"';
    expect(() => backendOf({}, ipv6Only)).toThrow("carries IPv4 only");
  });
});
