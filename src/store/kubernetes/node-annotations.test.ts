import { describe, expect, it } from "vitest";
import { annotationNames } from "../../config/annotation-prefix.ts";
import { parseAddress } from "../../ip/address.ts";
import type { LeaseAttributes } from "../../lease/lease.ts";
import { annotationPatch, demandedAddresses, removalPatch, wantedAnnotations } from "./node-annotations.ts";

const names = annotationNames("flannel.alpha.coreos.com");
const short = (annotations: Readonly<Record<string, string | null>>) =>
  Object.fromEntries(Object.entries(annotations).map(([name, value]) => [name.split("/")[1], value]));
const publicIp = parseAddress("192.0.2.1");
const publicIpv6 = parseAddress("2001:db8::1");
const data = { VNI: 1, VtepMAC: "aa:bb:cc:00:00:01" };
const json = '{"VNI":1,"VtepMAC":"aa:bb:cc:00:00:01"}';
const v4 = { "backend-data": "null", "public-ip": "192.0.2.1" };
const common = { "kube-subnet-manager": "true" };

describe("wantedAnnotations", () => {
  // As upstream's AcquireLease writes them (flannel v0.28.9, section 4.4 of its behaviour).
  it.each<[string, LeaseAttributes, Record<string, string>]>([
    [
      "vxlan",
      { publicIp, backendType: "vxlan", backendData: data },
      { "backend-type": "vxlan", "backend-data": json, "public-ip": "192.0.2.1" },
    ],
    [
      "vxlan, dual-stack",
      { publicIp, publicIpv6, backendType: "vxlan", backendData: data, backendV6Data: data },
      {
        ...{ "backend-type": "vxlan", "backend-data": json, "public-ip": "192.0.2.1" },
        ...{ "backend-v6-data": json, "public-ipv6": "2001:db8::1" },
      },
    ],
    [
      "vxlan, IPv6 alone",
      { publicIpv6, backendType: "vxlan", backendV6Data: data },
      { "backend-type": "vxlan", "backend-v6-data": json, "public-ipv6": "2001:db8::1" },
    ],
    ["host-gw", { publicIp, backendType: "host-gw" }, { "backend-type": "host-gw", ...v4 }],
    [
      "host-gw, IPv6 alone",
      { publicIpv6, backendType: "host-gw" },
      {
        ...{ "backend-type": "host-gw", "backend-data": "null", "public-ip": "0.0.0.0" },
        ...{ "backend-v6-data": "null", "public-ipv6": "2001:db8::1" },
      },
    ],
    ["udp", { publicIp }, { "backend-type": "", ...v4 }],
    ["alloc, dual-stack", { publicIp, publicIpv6 }, { "backend-type": "", ...v4 }],
    [
      "wireguard",
      { publicIp, publicIpv6, backendType: "wireguard", backendData: { Port: 1 }, backendV6Data: { Port: 2 } },
      {
        ...{ "backend-type": "wireguard", "backend-data": '{"Port":1}', "public-ip": "192.0.2.1" },
        ...{ "backend-v6-data": '{"Port":2}', "public-ipv6": "2001:db8::1" },
      },
    ],
  ])("%s", (_, attributes, expected) => {
    expect(short(wantedAnnotations(names, attributes, {}))).toEqual({ ...common, ...expected });
  });

  it("announces IPv6 for udp, which upstream runs over IPv4 alone, and not for alloc, which announces nothing of use", () => {
    const both = { publicIp, publicIpv6 };
    const udp = short(wantedAnnotations(names, both, {}, "udp"));
    expect(udp).toEqual({
      ...common,
      "backend-type": "",
      ...v4,
      "backend-v6-data": "null",
      "public-ipv6": "2001:db8::1",
    });
    expect(short(wantedAnnotations(names, both, {}, "alloc"))).not.toHaveProperty("public-ipv6");
  });

  it("publishes what an overwrite annotation says, whatever it says", () => {
    const present = { [names.publicIpOverwrite]: "203.0.113.7", [names.publicIpv6Overwrite]: "" };
    const wanted = wantedAnnotations(names, { publicIp, publicIpv6, backendType: "host-gw" }, present);
    expect(short(wanted)).toMatchObject({ "public-ip": "203.0.113.7", "public-ipv6": "2001:db8::1" });
  });
});

describe("annotationPatch", () => {
  const wanted = wantedAnnotations(names, { publicIp, backendType: "vxlan", backendData: data }, {});

  it("holds only what differs", () => {
    expect(annotationPatch(names, wanted, wanted)).toEqual({});
    expect(annotationPatch(names, wanted, { ...wanted, [names.publicIp]: "192.0.2.9", other: "x" })).toEqual({
      [names.publicIp]: "192.0.2.1",
    });
  });

  it("takes away the announcement of a family that is no longer announced, and leaves what people wrote", () => {
    const present = { ...wanted, [names.publicIpv6]: "2001:db8::1", [names.nodePublicIp]: "192.0.2.1" };
    expect(annotationPatch(names, wanted, present)).toEqual({ [names.publicIpv6]: null });
    expect(Object.keys(removalPatch(names, present)).sort()).toEqual(
      [names.backendData, names.backendType, names.managed, names.publicIp, names.publicIpv6].sort(),
    );
  });
});

it("reads demanded addresses, and names those that are none", () => {
  const annotations = { [names.nodePublicIp]: "192.0.2.5", [names.nodePublicIpv6]: "192.0.2.6" };
  expect(demandedAddresses(names, annotations)).toEqual({
    addresses: { publicIp: "192.0.2.5" },
    wrong: [names.nodePublicIpv6],
  });
});
