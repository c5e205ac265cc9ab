// This host's own Node: the lease that its podCIDR is, our announcement in its annotations, and what becomes of both. The
// annotations are kept as desired: others may edit them, and Nodes are deleted and made again.
import type { NetworkConfig } from "../../config/network-config.ts";
import { describeError, FlannelError } from "../../errors.ts";
import type { Family, Prefix } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import { isLater } from "../../kube-api/resource-version.ts";
import type { LeaseAttributes, LeasedSubnets, OwnLease } from "../../lease/lease.ts";
import { hasSameSubnets } from "../../lease/lease-owner.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AcquireOutcome, LeaseRequest } from "../subnet-store.ts";
import { KubernetesRevision, nodeCreation } from "./kubernetes-revision.ts";
import {
  type Annotations,
  annotationPatch,
  type DemandedAddresses,
  demandedAddresses,
  wantedAnnotations,
} from "./node-annotations.ts";
import type { NodeApi, OwnNodeOptions } from "./node-api.ts";
import { subnetsOfNode, uidOf } from "./node-lease.ts";
import type { NodeRecord } from "./node-record.ts";

/** What we hold and announce. */
interface Claim {
  readonly lease: OwnLease;
  readonly attributes: LeaseAttributes;
  readonly config: NetworkConfig;
  /** The families that this host served when it took the lease. */
  readonly served: ReadonlySet<Family>;
  /** What was written last. */
  readonly written: Annotations;
}

/** Waits before an external change is repaired: the more often it happened, the longer. */
const RESTORE_AFTER_MS = [1_000, 10_000, 60_000, 300_000] as const;
/** Foreign writes are forgotten when the annotations have stood so long. */
const PEACE_MS = 600_000;
/** So many foreign writes without such a peace are no accident. */
const FOREIGN_WRITES_ARE_A_CONFLICT = 3;

export class OwnNode implements Disposable {
  readonly #api: NodeApi;
  readonly #options: OwnNodeOptions;
  readonly #logger: Logger;
  readonly #closed = new AbortController();
  #name: string | undefined;
  #record: NodeRecord | undefined;
  #claim: Claim | undefined;
  /** Since the last peace. */
  #foreignWrites = 0;
  /** Since when the annotations are as they should be; undefined: they are not. */
  #standsSinceMs: number | undefined;
  /** Since the last foreign write: else it is the same one that is seen again. */
  #hasWrittenSince = true;
  #restoring: NodeJS.Timeout | undefined;
  /** Annotations of no use that were reported: not again at every heartbeat of the Node. */
  #toldOdd = "";
  readonly #watchers = new Set<() => void>();

  constructor(api: NodeApi, options: OwnNodeOptions, logger: Logger) {
    this.#api = api;
    this.#options = options;
    this.#logger = logger;
    this.#name = options.nodeName;
  }

  [Symbol.dispose](): void {
    this.#closed.abort();
    clearTimeout(this.#restoring);
  }

  /** As last seen. */
  get record(): NodeRecord | undefined {
    return this.#record;
  }

  get lease(): OwnLease | undefined {
    return this.#claim?.lease;
  }

  /** Undefined until it was looked up. */
  get knownName(): string | undefined {
    return this.#name;
  }

  async name(signal: AbortSignal): Promise<string> {
    if (this.#name !== undefined) return this.#name;
    const { pod } = this.#options;
    if (pod === undefined) throw new FlannelError("INTERNAL", "neither the Node nor the pod of this agent is known");
    this.#name = await this.#api.nodeOfPod(pod, signal);
    return this.#name;
  }

  async read(signal: AbortSignal): Promise<NodeRecord> {
    const record = await this.#api.get(await this.name(signal), signal);
    this.see(record);
    return record;
  }

  /** Why our announcement does not stand. */
  problem(): string | undefined {
    this.#forgetAfterPeace();
    if (this.#foreignWrites < FOREIGN_WRITES_ARE_A_CONFLICT) return undefined;
    return `another agent or program keeps changing flannel's annotations of Node ${this.#name}: they say ${this.#shown()}`;
  }

  /** Takes the Node's podCIDR for our subnet and announces us there, writing only what differs. */
  async acquire(
    { config, families, attributes }: LeaseRequest,
    signal: AbortSignal,
  ): Promise<{ lease: OwnLease; outcome: AcquireOutcome }> {
    const record = await this.read(signal);
    const served = new Set(([4, 6] as const).filter((family) => families?.has(family) !== false));
    const subnets = usableSubnets(record, config, served);
    const { record: after, isWritten, written } = await this.#write(record, { attributes, config }, signal);
    const lease = this.#leaseOf(after, subnets, attributes);
    this.#claim = { lease, attributes, config, served, written };
    return { lease, outcome: isWritten ? "allocated" : "reused" };
  }

  /** Announces `attributes` from now on. */
  async renew(lease: OwnLease, attributes: LeaseAttributes, signal: AbortSignal): Promise<OwnLease> {
    const record = await this.read(signal);
    const claim = this.#claim;
    const isOther = record.uid !== uidOf(lease);
    if (isOther || claim === undefined || !hasSameSubnets(usableSubnets(record, claim.config, claim.served), lease)) {
      throw new FlannelError("LEASE_LOST", `Node ${record.name} was recreated, or has another podCIDR`);
    }
    const { record: after, written } = await this.#write(record, { attributes, config: claim.config }, signal);
    const renewed = this.#leaseOf(after, lease, attributes);
    this.#claim = { ...claim, lease: renewed, attributes, written };
    return renewed;
  }

  /**
   * What the watch says; undefined: the Node is gone. Returns whether our lease stands as we hold it. `isOtherStore`: the
   * server's store was put back from an older copy; versions from before say nothing.
   */
  follow(record: NodeRecord | undefined, resourceVersion: string, isOtherStore = false): boolean {
    const claim = this.#claim;
    if (record === undefined) {
      const isNews = isOtherStore || claim === undefined || isLater(resourceVersion, String(claim.lease.revision));
      if (isNews) this.see(undefined);
      return claim !== undefined && !isNews;
    }
    if (claim === undefined) {
      this.see(record);
      return false;
    }
    if (isOtherStore) {
      this.see(record);
      if (record.uid !== uidOf(claim.lease)) return false;
      this.#claim = { ...claim, lease: this.#leaseOf(record, claim.lease, claim.attributes) };
      return this.#stands(record, this.#claim);
    }
    // An answer to a request of ours may have told more already.
    const known = this.#record;
    const latest =
      known?.uid === record.uid && !isLater(record.resourceVersion, known.resourceVersion) ? known : record;
    if (!isLater(latest.resourceVersion, String(claim.lease.revision))) return true;
    if (latest !== known) this.see(latest);
    return this.#stands(latest, claim);
  }

  #stands(record: NodeRecord, claim: Claim): boolean {
    if (record.uid !== uidOf(claim.lease)) return false;
    const present = subnetsOfNode(record);
    const hasLost = (["subnet", "ipv6Subnet"] as const).some(
      (family) => claim.lease[family] !== undefined && claim.lease[family] !== present[family],
    );
    if (hasLost) return false;
    this.#judge(record, claim);
    return true;
  }

  /** What people demand of us by annotations; wrong values are reported. */
  demanded(): DemandedAddresses {
    const { addresses, wrong } = demandedAddresses(this.#api.names, this.#record?.annotations ?? {});
    const odd = wrong.map((name) => `${name}=${this.#record?.annotations[name]}`).join(" ");
    const isTold = odd === this.#toldOdd;
    this.#toldOdd = odd;
    for (const name of isTold ? [] : wrong) {
      this.#logger.warn("node.annotation-odd", `annotation ${name} of this Node is not an address: ignoring it`);
    }
    return addresses;
  }

  /** Resolves when `demanded` may have changed, or when `signal` aborts. */
  async untilSeen(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    this.#watchers.add(wake);
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    signal.removeEventListener("abort", wake);
    this.#watchers.delete(wake);
  }

  see(record: NodeRecord | undefined): void {
    this.#record = record;
    for (const wake of this.#watchers) wake();
  }

  async #write(
    record: NodeRecord,
    { attributes, config }: Pick<Claim, "attributes" | "config">,
    signal: AbortSignal,
  ): Promise<{ record: NodeRecord; isWritten: boolean; written: Annotations }> {
    const { names } = this.#api;
    const written = wantedAnnotations(names, attributes, record.annotations, config.backendType);
    const patch = annotationPatch(names, written, record.annotations);
    if (Object.keys(patch).length === 0) return { record, isWritten: false, written };
    const after = await this.#api.patchAnnotations(record.name, patch, signal);
    this.#hasWrittenSince = true;
    this.see(after);
    return { record: after, isWritten: true, written };
  }

  #leaseOf(record: NodeRecord, { subnet, ipv6Subnet }: LeasedSubnets, attributes: LeaseAttributes): OwnLease {
    const { uid, createdAtMs, name, resourceVersion } = record;
    return {
      key: name,
      ...(subnet !== undefined && { subnet }),
      ...(ipv6Subnet !== undefined && { ipv6Subnet }),
      attributes,
      revision: new KubernetesRevision(resourceVersion, { uid, createdAtMs }),
      createdAt: nodeCreation({ uid, createdAtMs }),
      isReservation: false,
      adapterData: { uid, demanded: demandedAddresses(this.#api.names, record.annotations).addresses },
    };
  }

  /** Whether the annotations are as they should be; if not, they are put right. */
  #judge(record: NodeRecord, claim: Claim): void {
    const { names } = this.#api;
    const wanted = wantedAnnotations(names, claim.attributes, record.annotations, claim.config.backendType);
    if (Object.keys(annotationPatch(names, wanted, record.annotations)).length === 0) {
      clearTimeout(this.#restoring);
      this.#restoring = undefined;
      this.#standsSinceMs ??= performance.now();
      return;
    }
    if (this.#restoring !== undefined) return;
    // Only what people demand has changed: nobody else writes what we write.
    const isDemand = Object.keys(annotationPatch(names, claim.written, record.annotations)).length === 0;
    if (!isDemand && this.#hasWrittenSince) {
      this.#hasWrittenSince = false;
      this.#forgetAfterPeace();
      this.#foreignWrites++;
      this.#standsSinceMs = undefined;
      this.#logger.warn(
        "node.annotations-changed",
        "another program changed flannel's annotations of this Node: restoring them",
        {
          node: record.name,
          found: this.#shown(),
        },
      );
    }
    const delays = RESTORE_AFTER_MS;
    const delayMs = isDemand ? 0 : (delays[Math.min(this.#foreignWrites, delays.length) - 1] ?? delays[0]);
    this.#restoring = setTimeout(() => void this.#restore(), delayMs);
  }

  async #restore(): Promise<void> {
    const [claim, record] = [this.#claim, this.#record];
    try {
      if (claim === undefined || record === undefined || record.uid !== uidOf(claim.lease)) return;
      const { written } = await this.#write(record, claim, this.#closed.signal);
      // The lease keeps its revision: what is announced is the same again.
      if (this.#claim === claim) this.#claim = { ...claim, written };
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.#logger.warn(
        "node.not-written",
        "cannot restore flannel's annotations of this Node; retrying when it changes",
        {
          error: describeError(error),
        },
      );
    } finally {
      this.#restoring = undefined;
    }
  }

  #forgetAfterPeace(): void {
    const sinceMs = this.#standsSinceMs ?? Number.POSITIVE_INFINITY;
    if (performance.now() - sinceMs >= PEACE_MS) this.#foreignWrites = 0;
  }

  #shown(): string {
    const { names } = this.#api;
    const { annotations = {} } = this.#record ?? {};
    const parts = [annotations[names.publicIp], annotations[names.backendType], annotations[names.backendData]];
    return parts.filter((part) => part !== undefined && part !== "").join(" ") || "nothing";
  }
}

/** The podCIDRs of the families that are enabled. Throws `SUBNET_UNASSIGNED`, which an operator can correct meanwhile. */
function usableSubnets(record: NodeRecord, config: NetworkConfig, served: ReadonlySet<Family>): LeasedSubnets {
  const { name } = record;
  const all = subnetsOfNode(record);
  const subnet = config.ipv4 === undefined || !served.has(4) ? undefined : all.subnet;
  const ipv6Subnet = config.ipv6 === undefined || !served.has(6) ? undefined : all.ipv6Subnet;
  if (subnet === undefined && ipv6Subnet === undefined) {
    const shown =
      record.podCidrs.length === 0 ? "no podCIDR yet" : `podCIDR ${record.podCidrs.join(", ").slice(0, 100)}`;
    const family = config.ipv4 === undefined ? " of IPv6" : config.ipv6 === undefined ? " of IPv4" : "";
    throw unassigned(
      `Node ${name} has ${shown}, and the network needs one${family}: the controller manager assigns it ` +
        "(--allocate-node-cidrs, --cluster-cidr), or whoever creates the Node",
    );
  }
  requireInside(name, subnet, config.ipv4?.network, "Network");
  requireInside(name, ipv6Subnet, config.ipv6?.network, "IPv6Network");
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}

function requireInside(node: string, subnet: Prefix | undefined, network: Prefix | undefined, key: string): void {
  if (subnet === undefined || network === undefined || containsPrefix(network, subnet)) return;
  throw unassigned(
    `the podCIDR ${subnet} of Node ${node} is not inside ${key} ${network} of the network configuration: ` +
      "make net-conf.json and --cluster-cidr of the controller manager agree",
  );
}

function unassigned(message: string): FlannelError {
  return new FlannelError("SUBNET_UNASSIGNED", message, { retryable: true });
}
