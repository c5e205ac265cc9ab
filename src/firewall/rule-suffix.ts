// Keeps the rules of several networks on one host apart.
import { createHash } from "node:crypto";

/** Empty for flannel's usual network: its rules have the names that upstream uses, and upstream's are adopted. */
export function ruleSuffix(network: { readonly id: string; readonly isUsual: boolean }): string {
  return network.isUsual ? "" : `-${createHash("sha256").update(network.id).digest("hex").slice(0, 6)}`;
}
