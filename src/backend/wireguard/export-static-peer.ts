// The WireGuard configuration of a static peer (wg-quick's form): every host of the network as a peer. Without any secret:
// keys are named as files on the static peer's own machine. Pure.
import { type NetworkConfig, networksOf } from "../../config/network-config.ts";
import { addressBits, type Family, familyOf, prefixLength } from "../../ip/address.ts";
import { type Lease, prefixesOf } from "../../lease/lease.ts";
import { endpointText } from "../../netlink/genetlink/wireguard-device.ts";
import { type SkippedLease, selectPeers } from "../peer-reach.ts";
import type { StaticPeer } from "./static-peers.ts";
import { readWireguardData } from "./wireguard-data.ts";
import { readWireguardOptions, type WireguardOptions } from "./wireguard-options.ts";

export interface ExportedPeer {
  readonly text: string;
  /** Keys of the leases that stand in it. */
  readonly hosts: readonly string[];
  readonly skipped: readonly SkippedLease[];
}

/** A host behind which NAT forgets a silent peer after 30 s; what WireGuard's own documentation advises. */
const KEEPALIVE_SECONDS = 25;

/** The static peers of a configuration of this backend. Throws `CONFIG_INVALID` for another backend's. */
export function staticPeersOf(config: NetworkConfig): readonly StaticPeer[] {
  return readWireguardOptions(config).staticPeers;
}

/** `underlay`: the family of the addresses at which hosts are called. */
export function exportStaticPeer(
  peer: StaticPeer,
  config: NetworkConfig,
  leases: readonly Lease[],
  underlay: Family,
): ExportedPeer {
  const options = readWireguardOptions(config);
  const skipped: SkippedLease[] = [];
  const hosts: string[] = [];
  const sections: string[][] = [];
  const keys: string[] = [];
  for (const lease of selectPeers("wireguard", ["wireguard"], config, leases, skipped)) {
    const host = readHost(lease, config, options, underlay);
    if ("reason" in host) {
      skipped.push({ key: lease.key, reason: host.reason });
      continue;
    }
    hosts.push(lease.key);
    keys.push(host.publicKey);
    sections.push(hostSection(lease, host, peer));
  }
  const text = [header(peer, config), interfaceSection(peer, options, keys), ...sections]
    .map((lines) => `${lines.join("\n")}\n`)
    .join("\n");
  return { text, hosts, skipped };
}

interface Host {
  readonly publicKey: string;
  readonly endpoint: string;
}

function readHost(
  { attributes }: Lease,
  { ipv4 }: NetworkConfig,
  { mode, listenPort, listenPortV6 }: WireguardOptions,
  underlay: Family,
): Host | { readonly reason: string } {
  const { backendData, backendV6Data, publicIp, publicIpv6 } = attributes;
  const data = readWireguardData(backendData ?? backendV6Data);
  if ("reason" in data) return data;
  const address = underlay === 4 ? publicIp : publicIpv6;
  if (address === undefined) return { reason: `has no ${underlay === 4 ? "PublicIP" : "PublicIPv6"}` };
  const port = data.port ?? (mode === "separate" && ipv4 === undefined ? listenPortV6 : listenPort);
  return { publicKey: data.publicKey, endpoint: endpointText({ address, port }) };
}

function header({ name }: StaticPeer, config: NetworkConfig): string[] {
  const networks = networksOf(config).join(" and ");
  return [
    `# ${name} in the network ${networks}: to be used as /etc/wireguard/${name}.conf on ${name}, by wg-quick.`,
    `# Made by flannelctl wireguard export ${name}; make it again when hosts come, go or change their keys.`,
  ];
}

function interfaceSection(peer: StaticPeer, options: WireguardOptions, hostKeys: readonly string[]): string[] {
  const { name, allowedIps, endpoint, presharedKeyFile } = peer;
  const addresses = allowedIps.filter((prefix) => prefixLength(prefix) === addressBits(familyOf(prefix)));
  const { underlayMtuBytes, overheadBytes } = options;
  const ofSecret = presharedKeyFile === undefined ? [] : hostKeys;
  return [
    "[Interface]",
    ...(addresses.length > 0 ? [`Address = ${addresses.join(", ")}`] : []),
    ...(endpoint === undefined ? [] : [`ListenPort = ${endpoint.port}`]),
    ...(underlayMtuBytes === 0 ? [] : [`MTU = ${underlayMtuBytes - Math.max(overheadBytes[4], overheadBytes[6])}`]),
    `PostUp = wg set %i private-key /etc/wireguard/${name}.key`,
    ...ofSecret.map((key) => `PostUp = wg set %i peer ${key} preshared-key /etc/wireguard/${name}.psk`),
  ];
}

function hostSection(lease: Lease, { publicKey, endpoint }: Host, peer: StaticPeer): string[] {
  const keepalive = peer.keepaliveSeconds || (peer.endpoint === undefined ? KEEPALIVE_SECONDS : 0);
  return [
    "[Peer]",
    `# ${lease.key}`,
    `PublicKey = ${publicKey}`,
    `Endpoint = ${endpoint}`,
    `AllowedIPs = ${prefixesOf(lease).join(", ")}`,
    ...(keepalive === 0 ? [] : [`PersistentKeepalive = ${keepalive}`]),
  ];
}
