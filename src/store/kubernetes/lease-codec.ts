// Leases of Kubernetes as the state directory keeps them. Pure. Agents of other versions read these entries too: their
// fields stay as they are. What is read was written by us, or damaged, or by others.
import { type Family, familyOf, type Prefix, tryParseAddress, tryParsePrefix } from "../../ip/address.ts";
import { networkOf } from "../../ip/prefix.ts";
import { isRecord } from "../../json/untyped-fields.ts";
import type { Lease, LeaseCodec } from "../../lease/lease.ts";
import { formatLeaseValue, parseLeaseValue } from "../../lease/lease-value.ts";
import { KubernetesRevision, nodeCreation } from "./kubernetes-revision.ts";
import { uidOf } from "./node-lease.ts";

export const kubernetesLeaseCodec: LeaseCodec = {
  serialise: ({ key, subnet, ipv6Subnet, attributes, revision, createdAt, adapterData }) => ({
    node: key,
    ...(subnet !== undefined && { subnet }),
    ...(ipv6Subnet !== undefined && { ipv6Subnet }),
    value: formatLeaseValue(attributes),
    resourceVersion: String(revision),
    ...(createdAt instanceof KubernetesRevision && { createdAtMs: createdAt.createdAtMs }),
    data: adapterData,
  }),
  tryParse,
};

function tryParse(entry: Readonly<Record<string, unknown>>): Lease | undefined {
  const { node, value, resourceVersion, createdAtMs: created, data } = entry;
  const createdAtMs = typeof created === "number" && Number.isSafeInteger(created) ? created : 0;
  if (typeof node !== "string" || node === "" || node.length > 253 || typeof value !== "string") return undefined;
  if (typeof resourceVersion !== "string" || !/^\d{1,20}$/.test(resourceVersion) || !isRecord(data)) return undefined;
  const uid = uidOf({ adapterData: data });
  const [subnet, ipv6Subnet] = [readSubnet(entry["subnet"], 4), readSubnet(entry["ipv6Subnet"], 6)];
  if (uid === undefined || (subnet === undefined && ipv6Subnet === undefined)) return undefined;
  try {
    return {
      key: node,
      ...(subnet !== undefined && { subnet }),
      ...(ipv6Subnet !== undefined && { ipv6Subnet }),
      attributes: parseLeaseValue(value),
      revision: new KubernetesRevision(resourceVersion, { uid, createdAtMs }),
      createdAt: nodeCreation({ uid, createdAtMs }),
      isReservation: false,
      adapterData: { uid, demanded: readDemanded(data["demanded"]) },
    };
  } catch {
    return undefined;
  }
}

function readSubnet(value: unknown, family: Family): Prefix | undefined {
  const prefix = typeof value === "string" ? tryParsePrefix(value) : undefined;
  return prefix !== undefined && familyOf(prefix) === family && networkOf(prefix) === prefix ? prefix : undefined;
}

function readDemanded(value: unknown): Readonly<Record<string, string>> {
  const fields = [
    ["publicIp", 4],
    ["publicIpv6", 6],
  ] as const;
  const known = fields.flatMap(([name, family]) => {
    const text = isRecord(value) ? value[name] : undefined;
    const address = typeof text === "string" ? tryParseAddress(text) : undefined;
    return address !== undefined && familyOf(address) === family ? [[name, address] as const] : [];
  });
  return Object.fromEntries(known);
}
