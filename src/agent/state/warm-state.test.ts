import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import { type HostIdentity, type RememberedState, WarmState } from "./warm-state.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-state-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function lease(octet: number): Lease {
  return {
    key: `10.5.${octet}.0-24`,
    subnet: parsePrefix(`10.5.${octet}.0/24`),
    attributes: {
      publicIp: parseAddress(`192.0.2.${octet}`),
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
    },
    revision: 2n ** 60n,
    storeLeaseId: 7_587_848_390_100_000_000n,
  };
}

const state: RememberedState = {
  configText: '{"Network":"10.5.0.0/16"}',
  own: lease(1),
  vtepMac: "02:00:00:00:00:01",
  vtepMacV6: "02:00:00:00:00:02",
  devices: ["flannel.1"],
  publicIp: parseAddress("192.0.2.1"),
  interfaceMac: "52:54:00:00:00:01",
};
const here: HostIdentity = { addresses: new Set(["192.0.2.1"]), macs: new Set() };

function open(subnetFile = "/run/flannel/subnet.env", storePrefix = "/coreos.com/network") {
  return new WarmState({ directory, subnetFile, storePrefix });
}

function loadFrom(warmState: WarmState, identity = here) {
  const ignored: string[] = [];
  return { state: warmState.load(identity, (_file, reason) => ignored.push(reason)), ignored };
}

describe("WarmState", () => {
  it("gives back what was saved, peers included, readable by root alone", async () => {
    const first = open();
    await first.save(state);
    await first.savePeers([lease(2), lease(3)]);
    const second = open();
    expect(loadFrom(second)).toEqual({ state, ignored: [] });
    expect(second.loadPeers()).toEqual([lease(2), lease(3)]);
    for (const file of readdirSync(directory)) expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
  });

  it("belongs to one subnet file and one prefix", async () => {
    await open().save(state);
    expect(loadFrom(open("/run/other.env")).state).toBeUndefined();
    expect(loadFrom(open(undefined, "/other")).state).toBeUndefined();
  });

  it("is ignored on another host, and found again by the interface after a change of address", async () => {
    await open().save(state);
    const clone: HostIdentity = { addresses: new Set(["192.0.2.9"]), macs: new Set(["52:54:00:00:00:99"]) };
    expect(loadFrom(open(), clone)).toEqual({ state: undefined, ignored: ["it belongs to another host or address"] });
    const moved: HostIdentity = { addresses: new Set(["192.0.2.9"]), macs: new Set(["52:54:00:00:00:01"]) };
    expect(loadFrom(open(), moved).state).toEqual(state);
  });

  it("keeps one file when the address changes", async () => {
    const warmState = open();
    await warmState.save(state);
    await warmState.savePeers([lease(2)]);
    await warmState.save({ ...state, publicIp: parseAddress("192.0.2.77") });
    await warmState.savePeers([lease(2)]);
    expect(readdirSync(directory)).toHaveLength(2);
    expect(readdirSync(directory).every((file) => file.includes("192.0.2.77"))).toBe(true);
  });

  it.each(["", "{", "[]", "null", '{"version":1}', '{"version":2,"own":{}}', '{"version":1,"own":{"key":"x"}}'])(
    "ignores a file that holds %j",
    async (text) => {
      await open().save(state);
      for (const file of readdirSync(directory)) writeFileSync(join(directory, file), text);
      const loaded = loadFrom(open());
      expect(loaded.state).toBeUndefined();
      expect(loaded.ignored).toHaveLength(1);
    },
  );

  it("leaves out peers that cannot be read", async () => {
    const warmState = open();
    await warmState.save(state);
    await warmState.savePeers([lease(2), lease(3)]);
    const peers = readdirSync(directory).find((file) => file.includes(".peers."));
    writeFileSync(join(directory, peers ?? ""), `nonsense\n{"key":"x"}\n`, { flag: "a" });
    const again = open();
    loadFrom(again);
    expect(again.loadPeers().map(({ key }) => key)).toEqual([lease(2).key, lease(3).key]);
  });

  it("forgets everything on request", async () => {
    const warmState = open();
    await warmState.save(state);
    await warmState.savePeers([lease(2)]);
    warmState.remove();
    expect(readdirSync(directory)).toEqual([]);
  });
});
