// The vxlan backend's part of a lease: `{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}`. Pure.
import { foldKey } from "../../json/nearest.ts";
import type { BackendData } from "../../lease/lease.ts";

export function vtepData(vni: number, mac: string): BackendData {
  return { VNI: vni, VtepMAC: mac };
}

/** As a lease spells it, for a person; undefined where there is none. */
export function announcedMac(data: unknown): string | undefined {
  if (typeof data !== "object" || data === null || Array.isArray(data)) return undefined;
  const mac = Object.entries(data).find(([key]) => key.toLowerCase() === "vtepmac")?.[1];
  return typeof mac === "string" ? mac : undefined;
}

/** MAC of the peer's VTEP, lower case with colons, or a sentence on what is wrong. Other keys are ignored (also VNI, as in flannel). */
export function readVtepMac(data: BackendData | undefined): { readonly mac: string } | { readonly reason: string } {
  let text: unknown;
  if (typeof data === "object" && data !== null) {
    for (const [key, value] of Object.entries(data)) if (key === "VtepMAC" || foldKey(key) === "vtepmac") text = value;
  }
  if (typeof text !== "string") return { reason: "has no VtepMAC" };
  const mac = tryParseMac(text);
  if (mac !== undefined) return { mac };
  return { reason: `VtepMAC ${JSON.stringify(text.slice(0, 60))} is not the MAC of an Ethernet interface` };
}

const macForms = /^(?:[\da-f]{2}(?::[\da-f]{2}){5}|[\da-f]{2}(?:-[\da-f]{2}){5}|[\da-f]{4}(?:\.[\da-f]{4}){2})$/;

/** The three 48-bit forms Go's net.ParseMAC reads (a:b, a-b, abcd.efgh), unicast and not zero. */
function tryParseMac(text: string): string | undefined {
  const lowered = text.toLowerCase();
  if (!macForms.test(lowered)) return undefined;
  const isMulticast = (Number.parseInt(lowered.slice(0, 2), 16) & 1) === 1;
  if (isMulticast || !/[1-9a-f]/.test(lowered)) return undefined;
  if (lowered[2] === ":") return lowered;
  return (lowered.replaceAll(/[-.]/g, "").match(/../g) ?? []).join(":");
}
