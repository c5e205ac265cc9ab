// Which packets the rules of other programs are tried with, by what the checks of this host know. Pure.
import type { ScanContext } from "../firewall/hook-packets.ts";
import { type Address, type Family, familyOf } from "../ip/address.ts";
import type { CheckContext } from "./check.ts";

interface PlannedTunnel {
  /** Devices of the plan, by family; missing: guessed by their names. */
  readonly tunnel?: ScanContext["tunnel"];
  /** Public addresses of peers. */
  readonly peers?: readonly Address[];
}

export function scanContext(context: CheckContext, planned: PlannedTunnel = {}): ScanContext {
  const { networks, ownSubnets, externalInterface, insideDevices, needs } = context;
  const { name, address, ipv6Address } = externalInterface;
  const isOf = (family: Family) => networks.some((network) => familyOf(network) === family);
  // An IPv6-only host may have no IPv4 address to send from.
  const addresses = [
    ...(isOf(4) || ipv6Address === undefined ? [address] : []),
    ...(isOf(6) ? [ipv6Address] : []),
  ].filter((found) => found !== undefined);
  const udpPort = needs.kernelDevice?.udpPort ?? needs.udpPort;
  return {
    networks,
    ownSubnets,
    tunnel: { ...guessedDevices(context), ...planned.tunnel },
    inside: insideDevices?.[0],
    ...(udpPort !== undefined && { outer: { device: name, udpPort, addresses, peers: planned.peers ?? noPeers } }),
  };
}

const noPeers: readonly Address[] = [];

/** Devices for IPv6 have it in their names; a backend without devices uses the external interface. */
function guessedDevices({ devices, externalInterface }: CheckContext): ScanContext["tunnel"] {
  if (devices.length === 0) return { 4: externalInterface.name, 6: externalInterface.name };
  const [first] = devices;
  const ofIpv6 = devices.find((device) => device.includes("v6"));
  return { ...(first !== undefined && { 4: first, 6: ofIpv6 ?? first }) };
}
