import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { annotationNames } from "../../config/annotation-prefix.ts";
import { kubernetesLeaseCodec } from "./lease-codec.ts";
import { readNodeLease } from "./node-lease.ts";
import { NodeLeases } from "./node-leases.ts";
import { type NodeRecord, nodeReader } from "./node-record.ts";

const names = annotationNames("flannel.alpha.coreos.com");
const read = nodeReader(names);
const prefix = "flannel.alpha.coreos.com/";

function node(
  podCidrs: string[],
  annotations: Record<string, string>,
  { name = "n1", version = "7", uid = "u1" } = {},
) {
  const written = Object.fromEntries(Object.entries(annotations).map(([key, value]) => [prefix + key, value]));
  const record = read({
    metadata: { name, uid, resourceVersion: version, creationTimestamp: "2026-01-01T00:00:00Z", annotations: written },
    spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
  });
  if (record === undefined) throw new Error("no record");
  return record;
}

const managed = { "kube-subnet-manager": "true" };
const vxlan = {
  ...managed,
  "backend-type": "vxlan",
  "backend-data": '{"VNI":1,"VtepMAC":"aa:bb:cc:00:00:01"}',
  "public-ip": "192.0.2.1",
};
const vxlan6 = { "backend-v6-data": '{"VNI":1,"VtepMAC":"aa:bb:cc:00:00:06"}', "public-ipv6": "2001:db8::1" };

describe("readNodeLease", () => {
  it.each<[string, NodeRecord, object]>([
    ["IPv4", node(["10.244.1.0/24"], vxlan), { key: "n1", subnet: "10.244.1.0/24" }],
    [
      "dual-stack",
      node(["10.244.1.0/24", "fd00:244:0:1::/64"], { ...vxlan, ...vxlan6 }),
      { subnet: "10.244.1.0/24", ipv6Subnet: "fd00:244:0:1::/64", attributes: { publicIpv6: "2001:db8::1" } },
    ],
    [
      "dual-stack pod CIDRs of which one family is announced",
      node(["10.244.1.0/24", "fd00:244:0:1::/64"], vxlan),
      { subnet: "10.244.1.0/24", attributes: { publicIp: "192.0.2.1" } },
    ],
    [
      "two of one family: the first, as upstream's peers read it",
      node(["10.244.1.0/24", "10.244.9.0/24"], vxlan),
      { subnet: "10.244.1.0/24" },
    ],
    ["a single podCIDR with host bits", node(["10.244.1.7/24"], vxlan), { subnet: "10.244.1.0/24" }],
    [
      "udp, whose type is empty",
      node(["10.244.1.0/24"], { ...managed, "backend-type": "", "backend-data": "null", "public-ip": "192.0.2.1" }),
      { attributes: { publicIp: "192.0.2.1" } },
    ],
    [
      "Windows",
      node(["10.244.1.0/24"], { ...vxlan, "backend-data": '{"VNI":4096,"VtepMAC":"00:15:5d:00:00:01"}' }),
      { attributes: { backendType: "vxlan", backendData: { VNI: 4096, VtepMAC: "00:15:5d:00:00:01" } } },
    ],
    ["a foreign backend", node(["10.244.1.0/24"], { ...vxlan, "backend-type": "wireguard" }), { key: "n1" }],
  ])("reads %s", (_, record, expected) => {
    const found = readNodeLease(names, record);
    if (found === "unmanaged" || "reason" in found) throw new Error(JSON.stringify(found));
    expect(found.lease).toMatchObject(expected);
    const remembered = kubernetesLeaseCodec.tryParse(
      JSON.parse(JSON.stringify(kubernetesLeaseCodec.serialise(found.lease))),
    );
    expect(remembered).toMatchObject({ ...expected, adapterData: { uid: "u1" } });
  });

  it.each<[string, NodeRecord, string]>([
    ["no pod CIDR", node([], vxlan), "Node n1 has no podCIDR"],
    ["no address", node(["10.244.1.0/24"], managed), "announces no public IP"],
    ["an address of the other family", node(["fd00::/64"], vxlan), "announces no public IP"],
    ["a wrong address", node(["10.244.1.0/24"], { ...vxlan, "public-ip": "host" }), "public-ip is not an IPv4 address"],
    ["data that is no JSON", node(["10.244.1.0/24"], { ...vxlan, "backend-data": "{" }), "backend-data is not JSON"],
    ["a pod CIDR that is none", node(["everything"], vxlan), "has no podCIDR"],
  ])("gives a reason for %s", (_, record, reason) => {
    expect(readNodeLease(names, record)).toEqual({ reason: expect.stringContaining(reason) });
  });

  it.each([{}, { "kube-subnet-manager": "false" }, { ...vxlan, "kube-subnet-manager": "True" }])(
    "leaves alone what is not managed: %j",
    (annotations) => {
      expect(readNodeLease(names, node(["10.244.1.0/24"], annotations))).toBe("unmanaged");
    },
  );

  it("gives a lease, a reason or nothing for whatever a Node may hold", () => {
    const text = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.constantFrom("true", "10.1.0.0/16", "192.0.2.1", "null", "{}", "::1"),
    );
    const object = fc.record(
      {
        metadata: fc.oneof(
          fc.jsonValue(),
          fc.record(
            {
              name: fc.oneof(text, fc.constant("n1")),
              annotations: fc.oneof(
                fc.jsonValue(),
                fc.dictionary(fc.constantFrom(...Object.values(names)), text),
                fc.constant({
                  ...Object.fromEntries(Object.entries(vxlan).map(([key, value]) => [prefix + key, value])),
                }),
              ),
            },
            { requiredKeys: [] },
          ),
        ),
        spec: fc.oneof(fc.jsonValue(), fc.record({ podCIDR: text, podCIDRs: fc.array(text, { maxLength: 20 }) })),
        status: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(object, (value) => {
        const record = read(value);
        const found = record && readNodeLease(names, record);
        if (found === undefined || found === "unmanaged" || "reason" in found) return;
        if (found.lease.subnet === undefined && found.lease.ipv6Subnet === undefined) throw new Error("no subnet");
      }),
      propertyRuns(100_000),
    );
  });
});

describe("NodeLeases", () => {
  it("tells of changes of a lease, and of no others", () => {
    const leases = new NodeLeases(names);
    const before = leases.replace([node(["10.244.1.0/24"], vxlan)]).leases[0];
    expect(leases.put(node(["10.244.1.0/24"], vxlan, { version: "8" }))).toBeUndefined();
    expect(leases.replace([node(["10.244.1.0/24"], vxlan, { version: "9" })]).leases[0]).toBe(before);
    const moved = leases.put(node(["10.244.1.0/24"], { ...vxlan, "public-ip": "192.0.2.9" }, { version: "10" }));
    expect(moved?.event).toMatchObject({ type: "put", lease: { attributes: { publicIp: "192.0.2.9" } } });
    expect(leases.put(node(["10.244.5.0/24"], vxlan, { version: "11", uid: "u2" }))?.event).toMatchObject({
      lease: { subnet: "10.244.5.0/24" },
    });
  });

  it("keeps what a Node said while it says something wrong, and tells so once", () => {
    const leases = new NodeLeases(names);
    leases.replace([node(["10.244.1.0/24"], vxlan)]);
    const wrong = { ...vxlan, "public-ip": "nowhere" };
    expect(leases.put(node(["10.244.1.0/24"], wrong, { version: "8" }))?.unreadable?.key).toBe("n1");
    expect(leases.put(node(["10.244.1.0/24"], wrong, { version: "9" }))).toBeUndefined();
    expect(leases.put(node(["10.244.1.0/24"], vxlan, { version: "10" }))?.event?.type).toBe("put");
  });

  it("removes a Node that is no longer managed, and is silent about its end later", () => {
    const leases = new NodeLeases(names);
    leases.replace([node(["10.244.1.0/24"], vxlan)]);
    expect(leases.put(node(["10.244.1.0/24"], {}, { version: "8" }))?.event).toMatchObject({
      type: "delete",
      key: "n1",
    });
    expect(leases.remove("n1", "9")).toBeUndefined();
  });
});
