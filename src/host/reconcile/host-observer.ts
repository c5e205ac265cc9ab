// Looks at the kernel and puts what it finds into the table, kind by kind.
import type { Kind, Listed, Listing, Looked, Reader, Slot, Source } from "../kinds/kind.ts";
import { hostKinds } from "../kinds/kinds.ts";
import type { HostView } from "./host-view.ts";

/** Called for each slot whose found side was looked at. */
export type OnLookedAt = (slot: Slot) => void;

/** Looks at `kinds`, at the foundations of all kinds, and at what stands in the same listings. */
export async function look(kinds: ReadonlySet<Kind>, view: HostView, onLookedAt: OnLookedAt): Promise<void> {
  const listings = new Set<Listing>();
  for (const kind of hostKinds) {
    if (kind.isFoundation !== true && !kinds.has(kind)) continue;
    const { source } = kind;
    if (!isListed(source)) {
      view.slots.setObserved(kind, await source.look(view), onLookedAt);
    } else if (!listings.has(source.listing)) {
      listings.add(source.listing);
      await lookThrough(source.listing, view, onLookedAt);
    }
  }
}

function isListed(source: Source<unknown>): source is Listed<unknown> {
  return "listing" in source;
}

interface Part {
  readonly kind: Kind;
  readonly reader: Reader<unknown, Listing["objects"]>;
  readonly found: unknown[];
}

/** Each message is of one kind at most: the first that takes it. */
async function lookThrough(listing: Listing, view: HostView, onLookedAt: OnLookedAt): Promise<void> {
  const parts: Part[] = [];
  for (const kind of hostKinds) {
    const source: Looked<unknown> | Listed<unknown> = kind.source;
    if (!isListed(source) || source.listing !== listing) continue;
    parts.push({ kind, reader: await source.open(view), found: [] });
  }
  const [first, ...others] = parts;
  if (first === undefined) return;
  // Only for the few: of ten thousand routes none needs an entry.
  const partOf = new Map<unknown, Part>();
  for (const filter of listing.filters(view)) {
    const objects = await view.netlink.dumpAs(listing.objects, filter, (message) => {
      const object = first.reader.read(message);
      if (object !== undefined) return object;
      for (const part of others) {
        const other = part.reader.read(message);
        if (other === undefined) continue;
        partOf.set(other, part);
        return other;
      }
      return undefined;
    });
    for (const object of objects) (partOf.get(object) ?? first).found.push(object);
  }
  for (const { reader, found } of parts) reader.end?.(found);
  for (const { kind, found } of parts) view.slots.setObserved(kind, found, onLookedAt);
}
