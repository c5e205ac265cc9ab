// A host that looks as if upstream flannel ran on it: the same bytes in etcd, the same kernel objects made by `ip` and
// `bridge`. A stand-in for mixed clusters and take-over tests; IPv4, IPv6 and both, vxlan and host-gw.
import { isDeepStrictEqual } from "node:util";
import type { Etcd } from "./etcd.ts";
import type { LabHost } from "./host.ts";
import { type LinkView, link } from "./kernel-view.ts";
import { type LeaseView, readLease, subnetOfKey } from "./lease-view.ts";
import type { SubnetEnv } from "./subnet-env.ts";

/**
 * `current`: v0.20 to v0.28 (PublicIPv6 always there, VNI in the data); `seed`: v0.7 (PublicIP only, data with the MAC
 * alone). Readers must take both.
 */
export type UpstreamForm = "current" | "seed";

export interface UpstreamPeerOptions {
  readonly etcd: Etcd;
  /** `10.5.2.0/24`. Missing in an IPv6-only cluster. */
  readonly subnet?: string;
  /** `fd00:5:0:2::/64`. */
  readonly ipv6Subnet?: string;
  /** Default vxlan. */
  readonly backend?: "vxlan" | "host-gw";
  readonly form?: UpstreamForm;
  /** Default `/coreos.com/network`. */
  readonly prefix?: string;
  /** Default 1. */
  readonly vni?: number;
}

const leaseSeconds = 86_400;

export class UpstreamPeer {
  readonly host: LabHost;
  readonly key: string;
  readonly #options: UpstreamPeerOptions;
  #value = "";

  private constructor(host: LabHost, options: UpstreamPeerOptions) {
    this.host = host;
    this.#options = options;
    const parts = [options.subnet ?? "0.0.0.0/0", options.ipv6Subnet].filter((part) => part !== undefined);
    this.key = `${options.prefix ?? "/coreos.com/network"}/subnets/${parts.map((part) => part.replace("/", "-")).join("&")}`;
  }

  /**
   * Makes the devices, or keeps those that upstream would keep, and announces the lease; peers come with `sync`.
   * Throws when upstream would delete a device it finds and recreate it.
   */
  static async start(host: LabHost, options: UpstreamPeerOptions): Promise<UpstreamPeer> {
    const peer = new UpstreamPeer(host, options);
    if (peer.#isVxlan) await peer.#ensureDevices();
    peer.#value = await peer.#leaseValue();
    await options.etcd.put(peer.key, peer.#value, await options.etcd.grant(leaseSeconds));
    return peer;
  }

  /** The lease's bytes as written. */
  get value(): string {
    return this.#value;
  }

  /** What the agent would write to subnet.env. */
  get subnetEnv(): SubnetEnv {
    const { subnet, ipv6Subnet } = this.#options;
    return {
      network: undefined,
      subnet: subnet === undefined ? undefined : subnet.replace(/0\//, "1/"),
      ipv6Network: undefined,
      ipv6Subnet: ipv6Subnet === undefined ? undefined : ipv6Subnet.replace("::/", "::1/"),
      mtuBytes: this.#isVxlan ? this.host.mtuBytes - 50 : this.host.mtuBytes,
      ipMasq: false,
    };
  }

  /** Programs every other host's lease that is in etcd now, in upstream's order and form. */
  async sync(): Promise<void> {
    for (const lease of await this.#peers()) {
      await this.host.namespace.ipBatch(this.#peerLines(lease, "replace"));
      for (const words of this.#fdbCommands(lease)) await this.host.namespace.bridge("fdb", "replace", ...words);
    }
  }

  /** Removes one peer's objects as upstream does when its lease goes: each must be there in exactly that form. */
  async forget(peerKey: string): Promise<void> {
    const lease = (await this.#peers()).find((entry) => `${entry.subnet}` === subnetOfKey(peerKey));
    if (lease === undefined) throw new Error(`no lease ${peerKey} in etcd`);
    for (const words of this.#fdbCommands(lease)) await this.host.namespace.bridge("fdb", "del", ...words);
    await this.host.namespace.ipBatch(this.#peerLines(lease, "del"));
  }

  /** Deletes the lease; devices and routes stay, as upstream leaves them. */
  async stop(): Promise<void> {
    await this.#options.etcd.delete(this.key);
  }

  get #isVxlan(): boolean {
    return (this.#options.backend ?? "vxlan") === "vxlan";
  }

  get #devices(): { readonly v4: string; readonly v6: string } {
    const vni = this.#options.vni ?? 1;
    return { v4: `flannel.${vni}`, v6: `flannel-v6.${vni}` };
  }

  async #ensureDevices(): Promise<void> {
    const { subnet, ipv6Subnet } = this.#options;
    const { ipv4, ipv6 } = this.host;
    if (subnet !== undefined && ipv4 !== undefined) {
      await this.#ensureDevice(this.#devices.v4, ipv4, `${subnet.split("/")[0]}/32`);
    }
    if (ipv6Subnet !== undefined && ipv6 !== undefined) {
      await this.#ensureDevice(this.#devices.v6, ipv6, `${ipv6Subnet.split("/")[0]}/128`);
    }
  }

  async #ensureDevice(device: string, local: string, address: string): Promise<void> {
    const { vni = 1 } = this.#options;
    const mtu = this.host.mtuBytes - 50;
    const found = await link(this.host.namespace, device);
    const lines =
      found === undefined
        ? [`link add dev ${device} mtu ${mtu} type vxlan id ${vni} dev eth0 local ${local} dstport 8472 nolearning`]
        : [];
    if (found !== undefined) requireCompatible(device, found, vni, local);
    lines.push(`addr replace ${address} dev ${device}${local.includes(":") ? " nodad" : ""}`);
    await this.host.namespace.ipBatch([...lines, `link set dev ${device} up`]);
  }

  async #leaseValue(): Promise<string> {
    const { subnet, ipv6Subnet, form, backend = "vxlan", vni = 1 } = this.#options;
    const data = async (device: string) => {
      const mac = (await link(this.host.namespace, device))?.mac;
      return form === "seed" ? { VtepMAC: mac } : { VNI: vni, VtepMAC: mac };
    };
    return JSON.stringify({
      PublicIP: subnet === undefined ? "0.0.0.0" : this.host.ipv4,
      ...(form === "seed" ? {} : { PublicIPv6: ipv6Subnet === undefined ? null : this.host.ipv6 }),
      BackendType: backend,
      ...(this.#isVxlan && subnet !== undefined ? { BackendData: await data(this.#devices.v4) } : {}),
      ...(this.#isVxlan && ipv6Subnet !== undefined ? { BackendV6Data: await data(this.#devices.v6) } : {}),
    });
  }

  async #peers(): Promise<readonly LeaseView[]> {
    const prefix = `${this.#options.prefix ?? "/coreos.com/network"}/subnets/`;
    const entries = await this.#options.etcd.list(prefix);
    return entries.filter((entry) => entry.key !== this.key).map(readLease);
  }

  /** What of a lease this host can use: the families both have. */
  #reachable(lease: LeaseView): readonly Reachable[] {
    if (lease.backend !== (this.#options.backend ?? "vxlan")) return [];
    const { subnet, ipv6Subnet } = this.#options;
    const found: Reachable[] = [];
    if (subnet !== undefined && lease.subnet !== undefined && lease.publicIp !== undefined) {
      found.push({ subnet: lease.subnet, publicIp: lease.publicIp, mac: lease.mac, device: this.#devices.v4 });
    }
    if (ipv6Subnet !== undefined && lease.ipv6Subnet !== undefined && lease.publicIpv6 !== undefined) {
      found.push({ subnet: lease.ipv6Subnet, publicIp: lease.publicIpv6, mac: lease.macV6, device: this.#devices.v6 });
    }
    return found;
  }

  #peerLines(lease: LeaseView, verb: "replace" | "del"): readonly string[] {
    return this.#reachable(lease).flatMap(({ subnet, publicIp, mac, device }) => {
      // Upstream deletes without a protocol, which matches any.
      if (!this.#isVxlan)
        return [`route ${verb} ${subnet} via ${publicIp} dev eth0${verb === "del" ? "" : " proto boot"}`];
      if (mac === undefined) return [];
      const gateway = subnet.split("/")[0];
      return [
        `neigh ${verb} ${gateway} lladdr ${mac} dev ${device}${verb === "replace" ? " nud permanent" : ""}`,
        `route ${verb} ${subnet} via ${gateway} dev ${device} onlink proto boot`,
      ];
    });
  }

  #fdbCommands(lease: LeaseView): readonly (readonly string[])[] {
    return this.#reachable(lease).flatMap(({ publicIp, mac, device }) =>
      this.#isVxlan && mac !== undefined ? [[mac, "dev", device, "dst", publicIp, "self", "permanent"]] : [],
    );
  }
}

interface Reachable {
  readonly subnet: string;
  readonly publicIp: string;
  readonly mac: string | undefined;
  readonly device: string;
}

/** Upstream's comparison of a device it finds; it looks at nothing else. */
function requireCompatible(device: string, { kind, settings }: LinkView, vni: number, local: string): void {
  const wanted = { kind: "vxlan", vni, link: "eth0", local, group: undefined, l2miss: false, port: 8472, gbp: false };
  const found = {
    kind,
    vni: settings["id"],
    link: settings["link"],
    local: settings["local"] ?? settings["local6"],
    group: settings["group"] ?? settings["group6"],
    l2miss: settings["l2miss"] === true,
    port: settings["port"],
    gbp: settings["gbp"] === true,
  };
  if (isDeepStrictEqual(found, wanted)) return;
  throw new Error(`upstream would recreate ${device}, it is ${JSON.stringify(found)}`);
}
