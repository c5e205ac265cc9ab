// What a host of ours adds to its lease when it takes IPv6 through an ip6tnl device: `"BackendV6Data":{"Tunnel":"ip6tnl"}`.
// Upstream has no IPv6 with ipip and writes nothing there. Pure.
import { foldKey } from "../../json/nearest.ts";
import type { BackendData, LeaseAttributes } from "../../lease/lease.ts";

const TUNNEL = "ip6tnl";

export const ip6tnlData: BackendData = { Tunnel: TUNNEL };

/** Names are read as Go does: in any case, the last of equals wins. */
export function announcesIp6tnl({ backendV6Data }: LeaseAttributes): boolean {
  let tunnel: unknown;
  if (typeof backendV6Data === "object" && backendV6Data !== null) {
    for (const [key, value] of Object.entries(backendV6Data)) if (foldKey(key) === "tunnel") tunnel = value;
  }
  return tunnel === TUNNEL;
}
