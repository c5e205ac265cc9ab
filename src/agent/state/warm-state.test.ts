import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { backends } from "../../backend/registry.ts";
import { etcdLease } from "../../etcd-api/etcd-lease.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import { etcdLeaseCodec } from "../../store/etcd/lease-codec.ts";
import { type HostIdentity, type RememberedState, WarmState } from "./warm-state.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-state-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function lease(octet: number): Lease {
  return etcdLease({
    key: `10.5.${octet}.0-24`,
    subnet: parsePrefix(`10.5.${octet}.0/24`),
    attributes: {
      publicIp: parseAddress(`192.0.2.${octet}`),
      backendType: "vxlan",
      backendData: { VNI: 1, VtepMAC: "02:00:00:00:00:01" },
    },
    revision: 2n ** 60n,
    createRevision: 2n ** 60n,
    storeLeaseId: 7_587_848_390_100_000_000n,
  });
}

const state: RememberedState = {
  configText: '{"Network":"10.5.0.0/16"}',
  own: lease(1),
  identities: { vxlan: { vtepMac: "02:00:00:00:00:01", vtepMacV6: "02:00:00:00:00:02" } },
  devices: ["flannel.1"],
  publicIp: parseAddress("192.0.2.1"),
  interfaceMac: "52:54:00:00:00:01",
};
/** As it wrote it for this very state. Its reader demands version, configText, own, devices and two MACs. */
const textOfVersionBefore = `{
 "version": 1,
 "configText": "{\\"Network\\":\\"10.5.0.0/16\\"}",
 "vtepMac": "02:00:00:00:00:01",
 "vtepMacV6": "02:00:00:00:00:02",
 "devices": [
  "flannel.1"
 ],
 "publicIp": "192.0.2.1",
 "interfaceMac": "52:54:00:00:00:01",
 "own": {
  "key": "10.5.1.0-24",
  "value": "{\\"PublicIP\\":\\"192.0.2.1\\",\\"PublicIPv6\\":null,\\"BackendType\\":\\"vxlan\\",\\"BackendData\\":{\\"VNI\\":1,\\"VtepMAC\\":\\"02:00:00:00:00:01\\"}}",
  "revision": "1152921504606846976",
  "storeLeaseId": "7587848390100000000"
 }
}
`;
const here: HostIdentity = { addresses: new Set(["192.0.2.1"]), macs: new Set() };

function open(subnetFile = "/run/flannel/subnet.env", networkId = "/coreos.com/network") {
  return new WarmState({ directory, subnetFile, networkId, leaseCodec: etcdLeaseCodec, backends });
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

  it("belongs to one subnet file and one network", async () => {
    await open().save(state);
    expect(loadFrom(open("/run/other.env")).state).toBeUndefined();
    expect(loadFrom(open(undefined, "/other")).state).toBeUndefined();
  });

  it("is ignored on another host, and found again by the interface after a change of address", async () => {
    await open().save(state);
    const clone: HostIdentity = { addresses: new Set(["192.0.2.9"]), macs: new Set(["52:54:00:00:00:99"]) };
    expect(loadFrom(open(), clone)).toEqual({
      state: undefined,
      ignored: ["the state file belongs to another host or address"],
    });
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

  it("is not taken for absent when it cannot be read", async () => {
    await open().save(state);
    expect(open().all()).toEqual([state]);
    const [file = ""] = readdirSync(directory);
    rmSync(join(directory, file));
    mkdirSync(join(directory, file)); // reading it fails whoever asks
    expect(() => open().all()).toThrow(expect.objectContaining({ code: "FILE_FAILED" }));
    rmSync(directory, { recursive: true });
    expect(open().all()).toEqual([]);
    symlinkSync(directory, directory);
    expect(() => open().all()).toThrow(expect.objectContaining({ code: "FILE_FAILED" }));
    expect(loadFrom(open())).toMatchObject({ state: undefined, ignored: [expect.stringContaining("cannot read")] });
  });

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

  it("takes over what the version before kept", async () => {
    await open().save(state);
    const [file = ""] = readdirSync(directory);
    writeFileSync(join(directory, file), textOfVersionBefore);
    expect(loadFrom(open())).toEqual({ state, ignored: [] });
  });

  it("writes what the version before reads, whatever the backend, and its own records beside it", async () => {
    await open().save(state);
    const [file = ""] = readdirSync(directory);
    const written: Record<string, unknown> = JSON.parse(readFileSync(join(directory, file), "utf8"));
    expect(written).toEqual({ ...JSON.parse(textOfVersionBefore), identities: state.identities });
  });

  it("forgets everything on request", async () => {
    const warmState = open();
    await warmState.save(state);
    await warmState.savePeers([lease(2)]);
    warmState.remove();
    expect(readdirSync(directory)).toEqual([]);
  });
});
