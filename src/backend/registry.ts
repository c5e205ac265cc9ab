// The backends of this version, found by the type that a network configuration names. Pure.

import type { PoolUse } from "../config/address-pool.ts";
import type { BackendKey } from "../config/backend-key.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import { type ParsedNetworkConfig, parseNetworkConfig } from "../config/parse-network-config.ts";
import { FlannelError } from "../errors.ts";
import { didYouMean } from "../json/nearest.ts";
import { aliVpcModule } from "./ali-vpc/ali-vpc-backend.ts";
import { allocModule } from "./alloc/alloc-backend.ts";
import { awsVpcModule } from "./aws-vpc/aws-vpc-backend.ts";
import type { Backend, BackendModule, DevicePattern } from "./backend.ts";
import { extensionModule } from "./extension/extension-backend.ts";
import { gceModule } from "./gce/gce-backend.ts";
import { hostGwModule } from "./host-gw/host-gw-backend.ts";
import { ipipModule } from "./ipip/ipip-backend.ts";
import { ipsecModule } from "./ipsec/ipsec-backend.ts";
import { tencentVpcModule } from "./tencent-vpc/tencent-vpc-backend.ts";
import { udpModule } from "./udp/udp-backend.ts";
import { vxlanModule } from "./vxlan/vxlan-backend.ts";
import { wireguardModule } from "./wireguard/wireguard-backend.ts";

export class BackendRegistry {
  readonly modules: readonly BackendModule[];
  readonly #pools: PoolUse;

  constructor(modules: readonly BackendModule[], pools: PoolUse = "leased") {
    this.modules = modules;
    this.#pools = pools;
  }

  /** The same for hosts that are given their subnets from outside. */
  withGivenSubnets(): BackendRegistry {
    return new BackendRegistry(this.modules, "given");
  }

  /** The network configuration, checked with the keys of these backends. Throws as `parseNetworkConfig`. */
  parseConfig(text: string): ParsedNetworkConfig {
    return parseNetworkConfig(text, (type) => this.find(type)?.keys, this.#pools);
  }

  /** Throws `CONFIG_INVALID` for an unknown type, naming the known ones, and for keys the backend does not accept. */
  create(config: NetworkConfig): Backend {
    return this.moduleOf(config).create(config);
  }

  /** Throws `CONFIG_INVALID` for an unknown type, naming the known ones. */
  moduleOf({ backendType }: NetworkConfig): BackendModule {
    const module = this.find(backendType);
    if (module !== undefined) return module;
    const known = this.modules.map(({ type }) => type);
    const shown = backendType.length > 60 ? `${backendType.slice(0, 57)}...` : backendType;
    const rule = `is not a backend of this version: the backends are ${known.join(", ")}${didYouMean(shown, known)}`;
    throw new FlannelError("CONFIG_INVALID", `network config: Backend.Type ${JSON.stringify(shown)} ${rule}`, {
      details: { key: "Backend.Type", value: backendType, rule },
    });
  }

  /** Whatever its case. */
  find(type: string): BackendModule | undefined {
    return this.modules.find((module) => module.type === type.toLowerCase());
  }

  /** The keys beside Type that the configured backend reads; none for an unknown type. */
  keysOf({ backendType }: NetworkConfig): readonly BackendKey[] {
    return this.find(backendType)?.keys ?? [];
  }

  get devicePatterns(): readonly DevicePattern[] {
    return this.modules.flatMap(({ devicePatterns }) => devicePatterns);
  }

  /** What gives each network on a host devices of its own: `VNI (vxlan) or Port (udp)`. */
  get deviceKeys(): string {
    const keys = this.modules.flatMap(({ type, devicePatterns }) =>
      [...new Set(devicePatterns.map(({ distinguishedBy }) => distinguishedBy))].map((key) => `${key} (${type})`),
    );
    return keys.join(" or ");
  }
}

export const backends = new BackendRegistry([
  vxlanModule,
  hostGwModule,
  udpModule,
  wireguardModule,
  ipipModule,
  ipsecModule,
  extensionModule,
  allocModule,
  awsVpcModule,
  gceModule,
  aliVpcModule,
  tencentVpcModule,
]);

/** See BackendRegistry. */
export function parseConfig(text: string): ParsedNetworkConfig {
  return backends.parseConfig(text);
}

/** See BackendRegistry. */
export function createBackend(config: NetworkConfig): Backend {
  return backends.create(config);
}
