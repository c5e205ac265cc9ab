// MACs of our own VTEPs, one for each family: peers know us by them, so they must survive a restart. Pure.
import type { LeaseAttributes } from "../../lease/lease.ts";
import type { BackendIdentity, IdentityFacts } from "../backend.ts";
import { readVtepMac } from "./vtep-data.ts";

/** Lower case, colons. */
export interface VtepIdentity {
  readonly vtepMac: string;
  readonly vtepMacV6: string;
}

export const vtepIdentity: BackendIdentity<VtepIdentity> = {
  /** A living device's MAC (ours or upstream's) is what the peers know. */
  restore(remembered, facts) {
    const known = typeof remembered === "object" && remembered !== null ? (remembered as Partial<VtepIdentity>) : {};
    return {
      vtepMac: livingMac(facts, false) ?? macOrUndefined(known.vtepMac) ?? randomMac(facts),
      vtepMacV6: livingMac(facts, true) ?? macOrUndefined(known.vtepMacV6) ?? randomMac(facts),
    };
  },
  matches({ vtepMac, vtepMacV6 }, { backendData, backendV6Data }) {
    return announces(backendData, vtepMac) || announces(backendV6Data, vtepMacV6);
  },
  ofAnnounced({ backendData, backendV6Data }) {
    const [ipv4, ipv6] = [readVtepMac(backendData), readVtepMac(backendV6Data)];
    return { ...("mac" in ipv4 && { vtepMac: ipv4.mac }), ...("mac" in ipv6 && { vtepMacV6: ipv6.mac }) };
  },
  legacyFields: ["vtepMac", "vtepMacV6"],
};

function announces(data: LeaseAttributes["backendData"], mac: string): boolean {
  const read = readVtepMac(data);
  return "mac" in read && read.mac === mac;
}

function livingMac({ devices, links }: IdentityFacts, isV6: boolean): string | undefined {
  return links.find(({ kind, name }) => kind === "vxlan" && devices.includes(name) && name.includes("-v6.") === isV6)
    ?.mac;
}

function macOrUndefined(value: unknown): string | undefined {
  return typeof value === "string" && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(value) ? value : undefined;
}

/** Locally administered, unicast (IEEE 802). */
function randomMac({ randomBytes }: IdentityFacts): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfe) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}
