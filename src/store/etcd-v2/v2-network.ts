// Reads a network of flannel up to v0.7 out of an answer of etcd's v2 API: its configuration, leases and reservations. Pure.
// Everything in it was written by whoever could write to that etcd.
import { describeError, FlannelError } from "../../errors.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { isRecord } from "../../json/untyped-fields.ts";
import { tryParseLeaseKey } from "../../lease/lease-key.ts";
import { parseLeaseValue } from "../../lease/lease-value.ts";

export interface V2Network {
  /** As it was written. */
  readonly configText: string;
  readonly leases: readonly V2Lease[];
  /** Keys that are no leases, with the reason. */
  readonly skipped: readonly { readonly key: string; readonly reason: string }[];
}

export interface V2Lease {
  /** `10.5.3.0-24` */
  readonly name: string;
  /** As it was written. */
  readonly value: string;
  /** What was left of it; missing: a reservation, which never expires. */
  readonly ttlSeconds?: number;
}

interface V2Node {
  readonly key: string;
  readonly value?: string;
  readonly nodes?: readonly unknown[];
  readonly ttlSeconds?: number;
}

/** Of one network; flannel's largest has 2^16 subnets. */
const MAX_LEASES = 100_000;

/**
 * `text` is the answer to a recursive GET of `prefix`. Throws `CONFIG_MISSING` when there is no network there, and
 * `STORE_UNAVAILABLE` when it is no answer of etcd.
 */
export function readV2Network(text: string, prefix: string): V2Network {
  const answer = tryParseJson(text);
  const root = isRecord(answer) ? nodeOf(answer["node"]) : undefined;
  if (root === undefined)
    throw new FlannelError("STORE_UNAVAILABLE", "the answer is not one of etcd's v2 API: check --etcd-v2-endpoints");
  const children = (root.nodes ?? []).flatMap((child) => nodeOf(child) ?? []);
  const configText = children.find((child) => nameOf(child) === "config" && child.value !== undefined)?.value;
  if (configText === undefined) throw missing(prefix);
  const entries = children.find((child) => nameOf(child) === "subnets")?.nodes ?? [];
  const leases: V2Lease[] = [];
  const skipped: { key: string; reason: string }[] = [];
  for (const entry of entries.slice(0, MAX_LEASES)) {
    const node = nodeOf(entry);
    if (node === undefined) continue;
    const lease = leaseOf(node);
    if (typeof lease === "string") skipped.push({ key: node.key, reason: lease });
    else leases.push(lease);
  }
  return { configText, leases, skipped };
}

function leaseOf(node: V2Node): V2Lease | string {
  const name = nameOf(node);
  if (node.value === undefined) return "is a directory";
  if (tryParseLeaseKey(name)?.subnet === undefined) return "is not the name of a subnet";
  try {
    parseLeaseValue(node.value);
  } catch (error) {
    return describeError(error);
  }
  return { name, value: node.value, ...(node.ttlSeconds !== undefined && { ttlSeconds: node.ttlSeconds }) };
}

function nodeOf(value: unknown): V2Node | undefined {
  if (!isRecord(value) || typeof value["key"] !== "string") return undefined;
  const { key, value: text, nodes, ttl } = value;
  return {
    key,
    ...(typeof text === "string" && value["dir"] !== true && { value: text }),
    ...(Array.isArray(nodes) && { nodes }),
    // In its last second a key has 0 left.
    ...(typeof ttl === "number" && Number.isFinite(ttl) && { ttlSeconds: Math.max(1, Math.floor(ttl)) }),
  };
}

function nameOf({ key }: V2Node): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

export function missing(prefix: string): FlannelError {
  const next = "check --etcd-v2-prefix; a network with a name has it at the end, as in /coreos.com/network/blue";
  return new FlannelError("CONFIG_MISSING", `etcd has no v2 key ${prefix}/config: ${next}`);
}
