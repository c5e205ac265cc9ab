// What the dashboard shows, in items: each client is sent what changed since it was last sent something, so that a slow one
// misses steps in between and never the outcome. Nothing that was read elsewhere gets on it but as printable, bounded text.
import type { EntryItem, FeedMessage, ItemKinds, SampleItem } from "../../../dashboard/messages.ts";
import { printable } from "../../../terminal/foreign-text.ts";

export const MAX_TEXT_LENGTH = 2_000;
const MAX_ENTRIES = 500;
const MAX_SAMPLES = 3_000;
/** Of items that are gone; who has seen none of the oldest is sent everything. */
const MAX_GONE = 5_000;

type Kind = keyof ItemKinds;

interface Slot {
  readonly version: number;
  readonly kind: Kind;
  readonly network: string;
  /** Of a whole `FeedItem`; undefined: it is gone. */
  readonly json: string | undefined;
  /** Of a whole `FeedItem`, once it is gone. */
  readonly goneJson: string;
}

interface Recorded<T> {
  readonly version: number;
  readonly record: T;
}

export interface BoardNews {
  /** One line. */
  readonly text: string;
  readonly version: number;
}

export class Board {
  #version = 0;
  readonly #slots = new Map<string, Slot>();
  readonly #gone = new Set<string>();
  /** Clients whose version is lower are sent everything. */
  #completeFrom = 0;
  #entries: Recorded<EntryItem>[] = [];
  #samples: Recorded<SampleItem>[] = [];
  #lastEntryId = 0;
  readonly #listeners = new Set<() => void>();

  /** Calls back after each change, soon and often. */
  follow(onChange: () => void): Disposable {
    this.#listeners.add(onChange);
    return { [Symbol.dispose]: () => this.#listeners.delete(onChange) };
  }

  /** `id` where there are several of a kind in a network. */
  set<K extends Kind>(kind: K, network: string, value: ItemKinds[K], id = ""): void {
    this.#set(kind, network, value, id);
    this.#push();
  }

  /** All items of a kind in a network: others of it are gone. */
  replace<K extends Kind>(kind: K, network: string, values: ReadonlyMap<string, ItemKinds[K]>): void {
    const keys = new Set<string>();
    for (const [id, value] of values) keys.add(this.#set(kind, network, value, id));
    for (const [key, slot] of this.#slots) {
      if (slot.kind === kind && slot.network === network && slot.json !== undefined && !keys.has(key))
        this.#drop(key, slot);
    }
    this.#push();
  }

  /** All but these networks are gone, with everything in them. */
  keepNetworks(names: readonly string[]): void {
    const kept = new Set(["", ...names]);
    for (const [key, slot] of this.#slots) {
      if (!kept.has(slot.network) && slot.json !== undefined) this.#drop(key, slot);
    }
    this.#samples = this.#samples.filter(({ record }) => kept.has(record.network));
    this.#push();
  }

  addEntry(entry: Omit<EntryItem, "id">): void {
    const record = harmless({ ...entry, id: ++this.#lastEntryId });
    this.#entries.push({ version: ++this.#version, record });
    if (this.#entries.length > MAX_ENTRIES) this.#entries.shift();
    this.#push();
  }

  addSample(sample: SampleItem): void {
    this.#samples.push({ version: ++this.#version, record: harmless(sample) });
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
    this.#push();
  }

  /** What came after `version`, 0 for a new client; undefined when nothing did. */
  since(version: number): BoardNews | undefined {
    if (version >= this.#version) return undefined;
    const isWhole = version === 0 || version < this.#completeFrom;
    const after = isWhole ? 0 : version;
    const items: string[] = [];
    for (const slot of this.#slots.values()) {
      if (slot.version <= after) continue;
      if (slot.json !== undefined) items.push(slot.json);
      else if (!isWhole) items.push(slot.goneJson);
    }
    const newer = <T>(recorded: readonly Recorded<T>[]) =>
      recorded.filter((each) => each.version > after).map(({ record }) => record);
    const [entries, samples] = [newer(this.#entries), newer(this.#samples)];
    const rest: FeedMessage = {
      ...(isWhole && { isWhole }),
      ...(entries.length > 0 && { entries }),
      ...(samples.length > 0 && { samples }),
    };
    const text = `{"items":[${items.join(",")}]${JSON.stringify(rest)
      .replace(/^\{(?!\})/, ",")
      .replace(/^\{/, "")}\n`;
    return { text, version: this.#version };
  }

  #set<K extends Kind>(kind: K, network: string, value: ItemKinds[K], id: string): string {
    const key = JSON.stringify([kind, network, id]);
    const item = harmless([kind, network, id, value] as const);
    const json = JSON.stringify(item);
    const before = this.#slots.get(key);
    if (before?.json === json) return key;
    this.#gone.delete(key);
    const goneJson = JSON.stringify([item[0], item[1], item[2], null]);
    this.#slots.set(key, { version: ++this.#version, kind, network, json, goneJson });
    return key;
  }

  #drop(key: string, slot: Slot): void {
    this.#slots.set(key, { ...slot, version: ++this.#version, json: undefined });
    this.#gone.delete(key);
    this.#gone.add(key);
    if (this.#gone.size <= MAX_GONE) return;
    const [oldest = ""] = this.#gone;
    this.#completeFrom = Math.max(this.#completeFrom, this.#slots.get(oldest)?.version ?? 0);
    this.#gone.delete(oldest);
    this.#slots.delete(oldest);
  }

  #push(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** A copy in which each text is printable and of bounded length. */
function harmless<T>(value: T): T;
function harmless(value: unknown): unknown {
  if (typeof value === "string") return printable(cut(value));
  if (Array.isArray(value)) return value.map((item) => harmless<unknown>(item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [harmless(key), harmless<unknown>(item)]));
}

function cut(text: string): string {
  return text.length <= MAX_TEXT_LENGTH ? text : `${text.slice(0, MAX_TEXT_LENGTH)}…`;
}
