// What changed, and why: the last events of the agent, in memory. A bounded ring; whoever wants can follow what is added.
import type { LoggedEvent } from "./create-logger.ts";

/** Why something changed. */
export type CauseType =
  | "lease"
  | "configuration"
  | "interface"
  | "probe"
  | "notification"
  | "audit"
  | "operator"
  | "start";

export interface JournalCause {
  readonly type: CauseType;
  /** Of the store, for a lease or a configuration. */
  readonly revision?: string;
  /** Who made the change: a host, or programs with their pids. Missing where nobody tells. */
  readonly by?: string;
}

export interface JournalEntry {
  /** From 1 on, without gaps since the agent started. */
  readonly sequence: number;
  /** RFC 3339. */
  readonly at: string;
  readonly event: string;
  readonly level: string;
  readonly message: string;
  readonly cause?: JournalCause;
  /** What else the event tells. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** Events before this one that came too fast to be kept one by one. */
  readonly leftOut?: number;
}

export interface JournalOptions {
  readonly nowMs?: () => number;
  /** Default 2,000. */
  readonly capacity?: number;
}

const CAPACITY = 2_000;
const MAX_TEXT = 1_000;
/** Details of single objects and leases that are kept in a second; a start in a large network has tens of thousands. */
const DETAILS_PER_SECOND = 200;

/** Verbose events that are news of the network; the others are for who debugs the agent. */
const keptDetails: ReadonlySet<string> = new Set(["lease.seen", "lease.deleted", "host.object"]);

/** Where the event itself says what caused it. */
const causesOfEvents: readonly (readonly [RegExp, CauseType])[] = [
  [/^agent\.(reload|stopping)/, "operator"],
  [/^(host|firewall)\.(repaired|contested)$/, "notification"],
  [/^config\./, "configuration"],
  [/^interface\./, "interface"],
  [/^path-mtu\./, "probe"],
];

export class Journal {
  readonly #nowMs: () => number;
  readonly #capacity: number;
  #entries: JournalEntry[] = [];
  #sequence = 0;
  readonly #followers = new Set<(entry: JournalEntry) => void>();
  #secondBeganMs = Number.NEGATIVE_INFINITY;
  #details = 0;
  #leftOut = 0;

  constructor({ nowMs = Date.now, capacity = CAPACITY }: JournalOptions = {}) {
    this.#nowMs = nowMs;
    this.#capacity = capacity;
  }

  /** To be handed every event of the log. */
  readonly record = ({ level, event, message, fields }: LoggedEvent): void => {
    const nowMs = this.#nowMs();
    if (level === "verbose") {
      if (!keptDetails.has(event)) return;
      if (Math.abs(nowMs - this.#secondBeganMs) >= 1_000) {
        this.#secondBeganMs = nowMs;
        this.#details = 0;
      }
      if (++this.#details > DETAILS_PER_SECOND) {
        this.#leftOut++;
        return;
      }
    }
    const { cause, revision, by, authors, ...rest } = fields;
    const why = causeOf(event, { cause, revision, by: by ?? authors });
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    this.#add({
      sequence: ++this.#sequence,
      at: new Date(nowMs).toISOString(),
      event,
      level: level === "verbose" ? "detail" : level,
      message: (typeof message === "string" ? message : message()).slice(0, MAX_TEXT),
      ...(why !== undefined && { cause: why }),
      fields: Object.fromEntries(Object.entries(rest).flatMap(plainField)),
      ...(leftOut > 0 && { leftOut }),
    });
  };

  /** Oldest first; those after `sequence`, as far as they are still there. */
  entries(sequence = 0): readonly JournalEntry[] {
    return sequence === 0 ? [...this.#entries] : this.#entries.filter((entry) => entry.sequence > sequence);
  }

  /** Of the newest entry; 0 before there is one. */
  get sequence(): number {
    return this.#sequence;
  }

  /** `onEntry` must not throw or log. */
  follow(onEntry: (entry: JournalEntry) => void): Disposable {
    this.#followers.add(onEntry);
    return { [Symbol.dispose]: () => void this.#followers.delete(onEntry) };
  }

  #add(entry: JournalEntry): void {
    this.#entries.push(entry);
    // In pieces: taking away the first of a long list each time would move all others.
    if (this.#entries.length >= this.#capacity * 1.25) this.#entries = this.#entries.slice(-this.#capacity);
    for (const follower of this.#followers) follower(entry);
  }
}

interface CauseFields {
  readonly cause: unknown;
  readonly revision: unknown;
  readonly by: unknown;
}

function causeOf(event: string, { cause, revision, by }: CauseFields): JournalCause | undefined {
  const found = causesOfEvents.find(([pattern]) => pattern.test(event))?.[1];
  const type = isCauseType(cause) ? cause : found;
  if (type === undefined) return undefined;
  const who = Array.isArray(by) ? by.map(plainText).join(", ") : by;
  return {
    type,
    ...(revision !== undefined && { revision: plainText(revision) }),
    ...(typeof who === "string" && who !== "" && { by: who.slice(0, MAX_TEXT) }),
  };
}

/** Empty for what cannot be made a string, such as an object without a prototype. */
function plainText(value: unknown): string {
  try {
    return String(value);
  } catch {
    return "";
  }
}

const causeTypes: ReadonlySet<unknown> = new Set<CauseType>([
  "lease",
  "configuration",
  "interface",
  "notification",
  "audit",
  "operator",
  "start",
]);

function isCauseType(value: unknown): value is CauseType {
  return causeTypes.has(value);
}

/** Plain JSON of bounded size. */
function plainField([name, value]: readonly [string, unknown]): [string, unknown][] {
  if (value === undefined) return [];
  if (typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value)))
    return [[name, value === 0 ? 0 : value]];
  const text = typeof value === "string" ? value : value instanceof Error ? value.message : jsonOf(value);
  return [[name, text.slice(0, MAX_TEXT)]];
}

function jsonOf(value: unknown): string {
  try {
    return (
      JSON.stringify(value, (_, item: unknown) => (typeof item === "bigint" ? String(item) : item)) ?? String(value)
    );
  } catch {
    return "(cannot be shown)";
  }
}
