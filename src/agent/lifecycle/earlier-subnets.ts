// The subnets this host had before its present one: containers may still have addresses of them, and bridges.
import type { Prefix } from "../../ip/address.ts";
import { overlaps } from "../../ip/prefix.ts";
import { type LeasedSubnets, prefixesOf } from "../../lease/lease.ts";

/** A host that changes its subnet again and again keeps no more. */
export const MAX_EARLIER_SUBNETS = 16;

export class EarlierSubnets {
  /** Oldest first. */
  #subnets: readonly Prefix[];

  /** `known`: of the last run, oldest first; then what it had last. */
  constructor(known: readonly Prefix[] = [], ...last: readonly (LeasedSubnets | undefined)[]) {
    this.#subnets = known.slice(-MAX_EARLIER_SUBNETS);
    for (const subnets of last) this.add(subnets);
  }

  add(subnets: LeasedSubnets | undefined): void {
    const added = prefixesOf(subnets);
    const kept = this.#subnets.filter((subnet) => !added.includes(subnet));
    this.#subnets = [...kept, ...added].slice(-MAX_EARLIER_SUBNETS);
  }

  /** Those that are not part of what this host has now, oldest first. */
  besides(own: LeasedSubnets | undefined): readonly Prefix[] {
    const present = prefixesOf(own);
    return this.#subnets.filter((subnet) => !present.some((now) => overlaps(now, subnet)));
  }
}
