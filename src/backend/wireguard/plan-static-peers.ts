// What static peers need on a host: a peer and routes on its first device. One that would take addresses which this host
// or another one needs is left out and named. Pure.
import type { HostRoute } from "../../host/kinds/route-form.ts";
import type { HostWireguardPeer } from "../../host/kinds/wireguard-form.ts";
import type { Address, Prefix } from "../../ip/address.ts";
import { containsAddress, overlaps } from "../../ip/prefix.ts";
import { type Lease, type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";
import type { HostFacts } from "../backend.ts";
import type { SkippedLease } from "../peer-reach.ts";
import { presharedKeyOf } from "./preshared-keys.ts";
import type { StaticPeer } from "./static-peers.ts";

export interface StaticPeerContext {
  readonly device: string;
  readonly own: LeasedSubnets;
  readonly leases: readonly Lease[];
  /** Of this host and of hosts with a lease. */
  readonly hostKeys: ReadonlySet<string>;
  readonly facts: HostFacts;
}

export interface StaticPeerPlan {
  readonly peers: readonly HostWireguardPeer[];
  readonly routes: readonly HostRoute[];
  readonly skipped: readonly SkippedLease[];
}

/** How a static peer stands in lists of peers. */
function staticPeerKey({ name }: StaticPeer): string {
  return `static peer ${name}`;
}

export function planStaticPeers(staticPeers: readonly StaticPeer[], context: StaticPeerContext): StaticPeerPlan {
  const peers: HostWireguardPeer[] = [];
  const routes: HostRoute[] = [];
  const skipped: SkippedLease[] = [];
  if (staticPeers.length === 0) return { peers, routes, skipped };
  const { device, facts } = context;
  const reserved = reservedBy(context);
  for (const peer of staticPeers) {
    const reason = refusalOf(peer, context.hostKeys, reserved);
    if (reason !== undefined) {
      skipped.push({ key: staticPeerKey(peer), reason });
      continue;
    }
    const { publicKey, endpoint, allowedIps, keepaliveSeconds, presharedKeyFile } = peer;
    peers.push({
      device,
      publicKey,
      keepaliveSeconds,
      allowedIps,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...presharedKeyOf(presharedKeyFile === undefined ? undefined : { file: presharedKeyFile }, facts),
    });
    for (const destination of allowedIps) routes.push({ destination, device, onLink: false, isLinkScope: true });
  }
  return { peers, routes, skipped };
}

interface Reserved {
  readonly prefixes: readonly { readonly prefix: Prefix; readonly what: string }[];
  readonly addresses: readonly { readonly address: Address; readonly what: string }[];
}

/** What no packet into the tunnel may be for. */
function reservedBy({ own, leases, facts }: StaticPeerContext): Reserved {
  const { publicIp, publicIpv6, address, ipv6Address } = facts.externalInterface;
  const ours = [publicIp, publicIpv6, address, ipv6Address].filter((each) => each !== undefined);
  return {
    prefixes: [
      ...prefixesOf(own).map((prefix) => ({ prefix, what: `this host's subnet ${prefix}` })),
      ...facts.occupied.map(({ prefix, what }) => ({ prefix, what })),
      ...leases.flatMap((lease) =>
        prefixesOf(lease).map((prefix) => ({ prefix, what: `the subnet ${prefix} of another host` })),
      ),
    ],
    addresses: [
      ...ours.map((each) => ({ address: each, what: `this host's own address ${each}` })),
      ...leases.flatMap(({ attributes }) =>
        [attributes.publicIp, attributes.publicIpv6]
          .filter((each) => each !== undefined)
          .map((each) => ({ address: each, what: `the address ${each} of another host` })),
      ),
    ],
  };
}

function refusalOf(
  { publicKey, allowedIps }: StaticPeer,
  hostKeys: ReadonlySet<string>,
  { prefixes, addresses }: Reserved,
): string | undefined {
  if (hostKeys.has(publicKey)) return `has the PublicKey ${publicKey} of a host of the network`;
  for (const allowed of allowedIps) {
    const found =
      prefixes.find(({ prefix }) => overlaps(prefix, allowed)) ??
      addresses.find(({ address }) => containsAddress(allowed, address));
    if (found !== undefined) return `AllowedIPs ${allowed} would take ${found.what}`;
  }
  return undefined;
}
