// Keeps the rules of several agents on one host apart.
import { createHash } from "node:crypto";

const DEFAULT_PREFIX = "/coreos.com/network";

/** Empty for flannel's usual prefix in etcd: such an agent uses the names that upstream uses, and adopts its rules. */
export function ruleSuffix(etcdPrefix: string): string {
  if (etcdPrefix.replace(/\/+$/, "") === DEFAULT_PREFIX) return "";
  return `-${createHash("sha256").update(etcdPrefix).digest("hex").slice(0, 6)}`;
}
