// The port every backend implements. A backend plans; it never touches the machine. What has to run beside the plan is
// its runtime. How to add one: docs/architecture.md.
import type { BackendKey } from "../config/backend-key.ts";
import type { NetworkConfig } from "../config/network-config.ts";
import type { HostState } from "../host/kinds/host-state.ts";
import type { HostKind, Observed } from "../host/kinds/kinds.ts";
import type { HostLink } from "../host/kinds/link-form.ts";
import type { Address, Family, Prefix } from "../ip/address.ts";
import type { BackendData, Lease, LeaseAttributes, LeasedSubnets } from "../lease/lease.ts";
import type { DescriptorStore } from "../sys/service-descriptors.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";
import type { ExternalInterface } from "../underlay/external-interface.ts";
import type { OccupiedPrefix } from "../underlay/occupied-prefixes.ts";
import type { SkippedLease } from "./peer-reach.ts";

/**
 * All that this program knows of a kind of backend. `Identity` and `RuntimePlan` are the backend's own types: everybody
 * else passes them from one of its methods to another without looking inside.
 */
export interface BackendModule<Identity = unknown, RuntimePlan = unknown> {
  /** Lower case. */
  readonly type: string;
  /** One sentence for `--help` and the docs. */
  readonly summary: string;
  /** Config keys of the Backend object, for validation, near-miss warnings and the generated docs. */
  readonly keys: readonly BackendKey[];
  /** How its devices are named, ours and upstream's: what clean-up removes where no agent is remembered. */
  readonly devicePatterns: readonly DevicePattern[];
  /** What must survive a restart; missing when nothing has to. */
  readonly identity?: BackendIdentity<Identity>;
  /**
   * Each of its hosts has a tunnel device with the first address of its subnet, which answers as soon as the host is there.
   * Missing: nobody is sure to answer in a subnet before the bridge of its containers does.
   */
  readonly hasTunnelAddress?: true;
  /** Throws `CONFIG_INVALID` naming key, value and rule. */
  create(config: NetworkConfig): Backend<Identity, RuntimePlan>;
  /**
   * What has to run on this host before it can announce itself; its result is `HostFacts.startUpData`. Rejects with a
   * retryable error when it did not work out, and is called again.
   */
  startUp?(config: NetworkConfig, services: StartUpServices): Promise<BackendData | undefined>;
  /** Has to know whether the kernel has ESP: `HostFacts.hasKernelEsp`. */
  readonly needsEsp?: true;
  /** What its runtime starts goes on when the agent ends: it is cleaned up before another backend of the network starts. */
  readonly outlivesAgent?: true;
  /** Begins what takes time at a start, before anybody knows whether it is needed. Never throws. */
  warmUp?(): void;
  /** For backends with something running. Rejects only where the program itself is broken. */
  start?(services: RuntimeServices): Promise<BackendRuntime<RuntimePlan>>;
  /** Takes away what the runtime of an agent that no longer runs had made. Told in the result, and not thrown, is what fails. */
  cleanUp?(config: NetworkConfig, services: CleanUpServices): Promise<CleanUpResult>;
  /** How the runtime works, in a few words for `flannelctl status`. */
  describeFeatures?(features: RuntimeFeatures): string;
}

export interface DevicePattern {
  readonly kind: HostLink["kind"];
  /** Names of devices of that kind. They begin with `flannel`. */
  readonly pattern: RegExp;
  /** The config key that gives two networks on one host devices of their own. */
  readonly distinguishedBy: string;
}

/**
 * What makes this host the same peer after a restart: MACs, keys. A plain JSON record of at most
 * `MAX_IDENTITY_CHARACTERS`, kept in the state directory. It may hold secrets: it is never logged or shown.
 */
export interface BackendIdentity<Identity> {
  /**
   * The identity to go on with: of what lives on this host, else the remembered one, else a new one. `remembered` was
   * read from disk and may be anything.
   */
  restore(remembered: unknown, facts: IdentityFacts): Identity;
  /** Whether a lease announces this identity: nobody else can. */
  matches(identity: Identity, attributes: LeaseAttributes): boolean;
  /** What an announcement of this host tells of it, as `restore` takes it: for a host that lost its state. */
  readonly ofAnnounced?: (attributes: LeaseAttributes) => unknown;
  /**
   * The fields of `Identity`, where state files of earlier versions hold them outside of any record and demand them
   * whatever the backend: they are written there too, so that a downgrade finds them.
   */
  readonly legacyFields?: readonly string[];
  /**
   * Begins a change to a new identity, or goes on with one that was begun: it is announced from now on, and used once
   * `settle` says so.
   */
  renew?(identity: Identity, facts: Pick<IdentityFacts, "randomBytes" | "curve25519PublicKey">): Identity;
  /** The identity to go on with when the lease in the store announces this; the same object where that changes nothing. */
  settle?(identity: Identity, announced: LeaseAttributes): Identity;
  /** A file in which upstream keeps it, mode 0400: read before `restore`, written after it where it says something else. */
  readonly file?: {
    path(environment: Readonly<Record<string, string | undefined>>): string;
    content(identity: Identity): string;
  };
}

/** What an identity may be made from. */
export interface IdentityFacts {
  /** Names of the devices that the configuration in force owns. */
  readonly devices: readonly string[];
  /** All links of this host. */
  readonly links: readonly { readonly name: string; readonly kind?: string; readonly mac?: string }[];
  /** Unpredictable bytes, fit for keys. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Of a private key, both base64. */
  readonly curve25519PublicKey: (privateKey: string) => string;
  /** The identity's own file, where it exists. */
  readonly file?: { readonly path: string; readonly content: string };
}

/** Facts about the host that planning needs. A new object for each change. */
export interface HostFacts<Identity = unknown> {
  readonly externalInterface: ExternalInterface;
  /** As the module's `identity` restored it; undefined for a module without. */
  readonly identity: Identity;
  /** What the module's `startUp` resolved with. */
  readonly startUpData?: BackendData;
  /**
   * Public IPs of peers that the kernel reaches without a gateway, from route look-ups: of the leases for which the
   * backend's `needsLookUp` says so.
   */
  readonly directPeers: ReadonlySet<Address>;
  /** What this host uses for something else, inside the network and `furtherNetworks`: no peer's subnet may overlap it. */
  readonly occupied: readonly OccupiedPrefix[];
  /** Whether the kernel encrypts IPsec packets; missing for modules that do not need to know. */
  readonly hasKernelEsp?: boolean;
  /** The backend's `secretFiles`, by path. Secret. */
  readonly secrets?: ReadonlyMap<string, SecretFile>;
}

export interface SecretFileUse {
  readonly path: string;
  /** What is wrong with the content, without any of it; undefined when it can be used. */
  readonly faultOf: (text: string) => string | undefined;
}

/** What a file says, or why it cannot be used. */
export type SecretFile = { readonly text: string } | { readonly problem: string };

/** One configuration's backend. */
export interface Backend<Identity = unknown, RuntimePlan = unknown> {
  /** Lower case, as registered. */
  readonly type: string;
  /** Names of the devices this configuration owns; what is on them and not planned is removed. */
  readonly devices: readonly string[];
  /** Whether `plan` has to know how the kernel reaches the host of this lease. */
  needsLookUp(lease: Lease): boolean;
  /** Whether packets stop while the agent is away, so that a restart must not wait for the store. */
  readonly runsDataPlane: boolean;
  /** What the checks of the host look for. */
  readonly needs: HostNeeds;
  /** Files of this host with secrets that `plan` uses: followed while the configuration is in force. */
  readonly secretFiles?: readonly SecretFileUse[];
  /** Where its routes lead besides the network: packets of containers go there with their own addresses. */
  readonly furtherNetworks?: readonly Prefix[];
  /** Why upstream's flanneld could not take this network over, as a clause with its remedy; missing: it could. */
  readonly handoverObstacle?: string;
  /**
   * Overlay MTU of a family in bytes. The default, for subnet.env, is IPv4's where that is enabled, as upstream's: bridges
   * and containers of one network agree on it. IPv6, which has less room, gets its own from devices and routes.
   */
  mtuBytes(facts: HostFacts<Identity>, family?: Family): number;
  /** What we announce. Throws `CONFIG_INVALID` when this host cannot serve the backend (e.g. host-gw behind NAT). */
  attributes(facts: HostFacts<Identity>): LeaseAttributes;
  /**
   * Reads leases ahead of `plan`, which remembers what it read: called in slices, it keeps the first plan of 10,000
   * peers from holding the event loop. Calling it is never necessary.
   */
  prepare(leases: readonly Lease[]): void;
  /**
   * Pure. `peers` without our own lease. Leases that are not for this backend or cannot be read are left out and
   * reported in `skipped`.
   */
  plan(own: LeasedSubnets, peers: readonly Lease[], facts: HostFacts<Identity>): BackendPlan<RuntimePlan>;
  /** For backends without a runtime whose objects on the host tell what they carried. */
  observedTraffic?(peers: readonly Lease[], observed: ObservedObjects): RuntimeStatus;
}

/** What was found on the host of a kind, at the last look. */
export type ObservedObjects = <K extends HostKind>(kind: K) => readonly Observed<K>[];

export interface HostNeeds {
  /** Whether packets of the network are sent by this host at all. */
  readonly carriesTraffic: boolean;
  readonly kernelDevice?: KernelDevice;
  /** The UDP port at which the backend receives by itself. */
  readonly udpPort?: number;
  /** strongSwan's charon. */
  readonly ipsecDaemon?: true;
}

export interface KernelDevice {
  /** The kind of device that the kernel has to know. */
  readonly kind: KernelDeviceKind;
  /** Another one that it has to know, for the other address family. */
  readonly furtherKind?: KernelDeviceKind;
  /** At which the kernel receives for the device. */
  readonly udpPort?: number;
}

export type KernelDeviceKind = "vxlan" | "ipip" | "ip6tnl";

export interface BackendPlan<RuntimePlan = unknown> {
  readonly state: HostState;
  /** All that the runtime is to do; no peer is reached before it does. Missing where the kernel does everything. */
  readonly runtime?: RuntimePlan;
  /** Number of peers that `state` reaches. */
  readonly plannedPeers: number;
  readonly skipped: readonly SkippedLease[];
}

export interface StartUpServices {
  readonly signal: AbortSignal;
}

export interface CleanUpServices {
  readonly memory: RuntimeMemory;
  /** Only say what would be taken away. */
  readonly isDryRun: boolean;
  readonly signal: AbortSignal;
}

export interface CleanUpResult {
  readonly removed: readonly string[];
  readonly failures: readonly { readonly object: string; readonly error: string }[];
}

/** What a runtime may use; all of it stays the caller's. */
export interface RuntimeServices {
  readonly logger: Logger;
  /** A file of the backend's own in the state directory, as JSON, readable for root alone. */
  readonly memory: RuntimeMemory;
  /** Whether the process is asked to stop. */
  readonly isStopped: () => boolean;
  /** Keeps descriptors for the next process. */
  readonly descriptorStore: DescriptorStore;
  /** To be called when `problem` may have changed. */
  readonly onChange: () => void;
}

export interface RuntimeMemory {
  /** What an earlier run saved, unchecked; undefined when there is nothing to be read. */
  load(): unknown;
  /** Throws `FILE_FAILED`. */
  save(value: unknown): Promise<void>;
  /** Throws Node's error. */
  forget(): void;
}

export interface PlanLines {
  readonly desired: readonly string[];
  readonly difference: readonly string[];
}

/** What a runtime could not do for this host or for a peer, and tries again. */
export interface RuntimeFailure {
  readonly object: string;
  readonly error: string;
  readonly attempts: number;
  readonly scope: "own" | "peer" | "leftover";
}

/** What runs for a backend: told what to do as a whole, it keeps doing it. Disposing stops it and takes nothing away. */
export interface BackendRuntime<RuntimePlan = unknown> extends AsyncDisposable {
  /**
   * Not called again before it has settled. Does not reject: what fails is tried again by the runtime itself and told
   * by `problem` and `failures`. `isComplete`: who is not in the plan is gone; before a store told the whole truth he may not be.
   */
  apply(plan: RuntimePlan, scope: { readonly isComplete: boolean }): Promise<void>;
  /** Why packets, or some of them, do not flow now; undefined when they do. Makes the agent not ready. */
  problem(): string | undefined;
  /** What does not work for single peers. */
  failures?(): readonly RuntimeFailure[];
  /** Number of planned peers that are not reached, whether or not that failed. */
  unreachedPeers?(): number;
  /** For `flannelctl plan`: what is desired of it, and what is pending, with + and -. */
  planLines?(): PlanLines;
  status(): RuntimeStatus;
  /**
   * Prepares for upstream's flanneld to follow this process: devices that would be in its way end with the process from
   * now on. Returns their names; throws when that cannot be done now.
   */
  handOver?(): Promise<readonly string[]>;
  /** Looks at once whether what it keeps outside of this host is still right, as it does from time to time (SIGHUP, `flannelctl reload`). */
  lookAgain?(): void;
  /** Brings the backend's own metrics up to date. */
  recordMetrics?(metrics: MetricsRecorder): void;
}

export type RuntimeFeatures = Readonly<Record<string, string | boolean>>;

/** What `flannelctl status` shows of what carries the packets, by names of the backend's own. */
export interface RuntimeStatus {
  /** What it makes use of; missing while it does not run. */
  readonly features?: RuntimeFeatures;
  /** Counters since the agent started. */
  readonly carried: Readonly<Record<string, number>>;
  /** Packets, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  readonly peers: readonly {
    /** Of its lease. */
    readonly key: string;
    readonly sentPackets?: number;
    readonly sentBytes?: number;
    readonly receivedPackets?: number;
    readonly receivedBytes?: number;
    /** Where its packets go now: `192.0.2.1:51820`. */
    readonly endpoint?: string;
    /** RFC 3339; missing before the first. */
    readonly lastHandshakeAt?: string;
    /** Of its encryption, in a few words, for backends that negotiate it: `established`. */
    readonly association?: string;
  }[];
  /** Peers of the configuration that have no lease, those that are reached. */
  readonly staticPeers?: readonly StaticPeerStatus[];
}

export interface StaticPeerStatus {
  readonly name: string;
  readonly publicKey: string;
  readonly allowedIps: readonly Prefix[];
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly endpoint?: string;
  readonly lastHandshakeAt?: string;
}
