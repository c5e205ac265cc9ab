// From a Node to the lease that its annotations announce. The annotations come from whoever may write to Nodes: a lease,
// a reason, or nothing. Pure.
import type { AnnotationNames } from "../../config/annotation-prefix.ts";
import { type Address, type Family, familyOf, type Prefix, tryParseAddress, tryParsePrefix } from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import type { BackendData, Lease, LeaseAttributes, LeasedSubnets } from "../../lease/lease.ts";
import { readBackendData } from "../../lease/lease-value.ts";
import { KubernetesRevision, nodeCreation } from "./kubernetes-revision.ts";
import type { NodeRecord } from "./node-record.ts";

/** The adapter's data of a lease. */
export interface KubernetesLeaseData {
  /** Of the Node: another one of the same name is another host. */
  readonly uid: string;
}

export type ReadNode =
  | { readonly lease: Lease }
  /** The Node is one of flannel's, but says nothing that can be used. */
  | { readonly reason: string }
  /** Not managed by flannel under this prefix (yet, or any more). */
  | "unmanaged";

/** The first pod CIDR of each family, as upstream reads those of its peers. */
export function subnetsOfNode({ podCidrs }: NodeRecord): LeasedSubnets {
  const prefixes = podCidrs.map((cidr) => tryParsePrefix(cidr)).filter((prefix) => prefix !== undefined);
  const [subnet, ipv6Subnet] = ([4, 6] as const).map((family) => firstOf(prefixes, family));
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}

function firstOf(prefixes: readonly Prefix[], family: Family): Prefix | undefined {
  const found = prefixes.find((prefix) => familyOf(prefix) === family);
  return found === undefined ? undefined : networkOf(found);
}

/** Throws a RangeError for what is no address or no JSON. */
function readAttributes(names: AnnotationNames, annotations: NodeRecord["annotations"]): LeaseAttributes {
  const publicIp = readAddress(annotations, names.publicIp, 4);
  const publicIpv6 = readAddress(annotations, names.publicIpv6, 6);
  const backendType = annotations[names.backendType] ?? "";
  const backendData = readData(annotations, names.backendData);
  const backendV6Data = readData(annotations, names.backendV6Data);
  return {
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(backendType !== "" && { backendType }),
    ...(backendData !== undefined && { backendData }),
    ...(backendV6Data !== undefined && { backendV6Data }),
  };
}

/** A family counts when the Node has a pod CIDR of it and announces an address of it. */
export function readNodeLease(names: AnnotationNames, record: NodeRecord): ReadNode {
  const { annotations, name, uid, createdAtMs, resourceVersion } = record;
  if (annotations[names.managed] !== "true") return "unmanaged";
  const subnets = subnetsOfNode(record);
  if (subnets.subnet === undefined && subnets.ipv6Subnet === undefined) {
    return { reason: `Node ${name} has no podCIDR` };
  }
  try {
    const { subnet, ipv6Subnet } = subnets;
    const attributes = readAttributes(names, annotations);
    const isV4 = subnet !== undefined && attributes.publicIp !== undefined;
    const isV6 = ipv6Subnet !== undefined && attributes.publicIpv6 !== undefined;
    if (!isV4 && !isV6) return { reason: `Node ${name} announces no public IP for its podCIDR` };
    const adapterData: KubernetesLeaseData = { uid };
    const lease: Lease = {
      key: name,
      ...(isV4 && { subnet }),
      ...(isV6 && { ipv6Subnet }),
      attributes,
      revision: new KubernetesRevision(resourceVersion, { uid, createdAtMs }),
      createdAt: nodeCreation({ uid, createdAtMs }),
      isReservation: false,
      adapterData,
    };
    return { lease };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { reason: `Node ${name}: ${error.message}` };
  }
}

function readAddress(annotations: NodeRecord["annotations"], name: string, family: Family): Address | undefined {
  const text = annotations[name];
  if (text === undefined || text === "" || text === "0.0.0.0" || text === "::") return undefined;
  const address = tryParseAddress(text);
  if (address !== undefined && familyOf(address) === family) return address;
  throw new RangeError(`annotation ${name} is not an IPv${family} address`);
}

function readData(annotations: NodeRecord["annotations"], name: string): BackendData | undefined {
  const text = annotations[name];
  if (text === undefined || text === "" || text === "null") return undefined;
  const data = tryParseJson(text);
  if (data === undefined) throw new RangeError(`annotation ${name} is not JSON`);
  return readBackendData(`annotation ${name}`, data);
}

/** Equal for everybody: a Node is written every few minutes without anything of this having changed. */
export function announcesSame(a: Lease, b: Lease): boolean {
  return (
    a.subnet === b.subnet &&
    a.ipv6Subnet === b.ipv6Subnet &&
    uidOf(a) === uidOf(b) &&
    JSON.stringify(a.attributes) === JSON.stringify(b.attributes)
  );
}

/** Of the Node that a lease stands on; undefined for leases of other stores. */
export function uidOf({ adapterData }: Pick<Lease, "adapterData">): string | undefined {
  if (typeof adapterData !== "object" || adapterData === null || !("uid" in adapterData)) return undefined;
  return typeof adapterData.uid === "string" ? adapterData.uid : undefined;
}
