// The pools of a network as a map: which subnets are leased, reserved, free. Of a large pool one cell stands for several
// subnets. Pure.
import type { AddressPool, NetworkConfig } from "../../../config/network-config.ts";
import type { CellUse, PoolItem, SpaceCell } from "../../../dashboard/messages.ts";
import {
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  type Family,
  familyOf,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../../ip/address.ts";
import { prefixSize } from "../../../ip/prefix.ts";
import { type LeasedSubnets, prefixesOf } from "../../../lease/lease.ts";

export interface MappedLease extends LeasedSubnets {
  readonly key: string;
  readonly isReserved: boolean;
  readonly isOwn: boolean;
}

/** More cells are too many to read. */
export const MAX_CELLS = 1_024;
const MAX_NAMED = 8;
const MAX_STRAYS = 50;

export function mapPools(
  { ipv4, ipv6 }: Pick<NetworkConfig, "ipv4" | "ipv6">,
  leases: readonly MappedLease[],
): PoolItem[] {
  return [ipv4, ipv6].flatMap((pool) => (pool === undefined ? [] : [mapPool(pool, leases)]));
}

interface Range {
  /** Both inclusive. */
  readonly first: bigint;
  readonly last: bigint;
  readonly lease: MappedLease;
}

function mapPool(pool: AddressPool, leases: readonly MappedLease[]): PoolItem {
  const family = familyOf(pool.network);
  const size = 1n << BigInt(addressBits(family) - pool.subnetLength);
  const first = addressToBigInt(pool.subnetMin);
  const last = addressToBigInt(pool.subnetMax) + size - 1n;
  const total = (last - first + 1n) / size;
  const perCell = subnetsPerCell(total);
  const ranges = rangesOf(family, leases);
  const inside = ranges.filter((range) => range.last >= first && range.first <= last);
  const taken = takenSubnets(inside, { first, last, size });
  return {
    network: pool.network,
    subnetLength: pool.subnetLength,
    subnetMin: pool.subnetMin,
    subnetMax: pool.subnetMax,
    total: String(total),
    taken: String(taken),
    free: String(total - taken),
    subnetsPerCell: String(perCell),
    cells: cellsOf(inside, { family, first, last, cellSize: size * perCell }),
    strays: ranges
      .filter((range) => !inside.includes(range))
      .slice(0, MAX_STRAYS)
      .map(({ lease }) => lease.key),
  };
}

/** A power of two, so that cells are prefixes but for the ends of the pool. */
function subnetsPerCell(total: bigint): bigint {
  let perCell = 1n;
  while ((total + perCell - 1n) / perCell > BigInt(MAX_CELLS)) perCell *= 2n;
  return perCell;
}

function rangesOf(family: Family, leases: readonly MappedLease[]): Range[] {
  const ranges = leases.flatMap((lease) =>
    prefixesOf(lease)
      .filter((prefix) => familyOf(prefix) === family)
      .map((prefix) => ({ ...rangeOf(prefix), lease })),
  );
  return ranges.toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
}

function rangeOf(prefix: Prefix): { readonly first: bigint; readonly last: bigint } {
  const bits = BigInt(addressBits(familyOf(prefix)) - prefixLength(prefix));
  const first = (addressToBigInt(prefixAddress(prefix)) >> bits) << bits;
  return { first, last: first + prefixSize(prefix) - 1n };
}

/** Subnets of the pool that touch a lease, each once, however leases overlap. `ranges` sorted by `first`. */
function takenSubnets(
  ranges: readonly Range[],
  { first, last, size }: { readonly first: bigint; readonly last: bigint; readonly size: bigint },
): bigint {
  let taken = 0n;
  /** Number of the first subnet that is not counted yet. */
  let next = 0n;
  for (const range of ranges) {
    const from = range.first < first ? 0n : (range.first - first) / size;
    const to = ((range.last > last ? last : range.last) - first) / size;
    const begin = from > next ? from : next;
    if (to < begin) continue;
    taken += to - begin + 1n;
    next = to + 1n;
  }
  return taken;
}

interface CellRoom {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
  readonly cellSize: bigint;
}

function cellsOf(ranges: readonly Range[], { family, first, last, cellSize }: CellRoom): SpaceCell[] {
  const origin = first / cellSize;
  const cells = Array.from({ length: Number(last / cellSize - origin) + 1 }, (_, index) => {
    const begin = (origin + BigInt(index)) * cellSize;
    const end = begin + cellSize - 1n;
    return new CellUsers(begin < first ? first : begin, end > last ? last : end);
  });
  for (const range of ranges) {
    const begin = range.first > first ? Number(range.first / cellSize - origin) : 0;
    const end = range.last < last ? Number(range.last / cellSize - origin) : cells.length - 1;
    for (let index = begin; index <= end; index++) cells[index]?.add(range);
  }
  return cells.map((cell) => ({
    from: addressFromBigInt(cell.from, family),
    use: cell.use,
    leases: cell.named,
    count: cell.count,
  }));
}

/** Who has a part of a cell. Ranges come in the order of their first address. */
class CellUsers {
  readonly from: bigint;
  readonly #to: bigint;
  readonly named: string[] = [];
  count = 0;
  #reserved = 0;
  #hasOwn = false;
  /** All before it is covered, as long as `#hasGap` is false. */
  #coveredTo: bigint;
  #hasGap = false;

  constructor(from: bigint, to: bigint) {
    this.from = from;
    this.#to = to;
    this.#coveredTo = from;
  }

  add({ first, last, lease }: Range): void {
    this.count++;
    if (lease.isReserved) this.#reserved++;
    if (lease.isOwn) this.#hasOwn = true;
    if (this.named.length < MAX_NAMED) this.named.push(lease.key);
    if (first > this.#coveredTo) this.#hasGap = true;
    if (last >= this.#coveredTo) this.#coveredTo = last + 1n;
  }

  /** `own` also where ours is one of several: it is what people look for. */
  get use(): CellUse {
    if (this.count === 0) return "free";
    if (this.#hasOwn) return "own";
    if (this.#hasGap || this.#coveredTo <= this.#to) return "mixed";
    return this.#reserved === this.count ? "reserved" : "leased";
  }
}
