// What the machine has to know of one kind of kernel object. Whoever reads, compares, programs, watches and repairs the
// host (host/reconcile) asks the kind and never which kind it is. D is what a planner wants, O what is found.
import type { FlannelError } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import type { ObjectKind, ObjectKinds } from "../../netlink/rtnetlink/messages.ts";
import type { MonitorMessage } from "../../netlink/rtnetlink/monitor.ts";
import type { DumpFilter } from "../../netlink/rtnetlink/object-codec.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { KindMemory } from "./kind-memory.ts";
import type { LinkDirectory, Ownership } from "./links.ts";

/**
 * Functions are declared as methods throughout: so each kind is also a `Kind` of unknown objects, which is all that a
 * mixed list of them can be. What comes out of a slot goes back only to the kind of that slot.
 */
export interface Kind<N extends string = string, D = unknown, O = unknown> {
  /** Its key in a HostState. */
  readonly name: N;

  /** Equal for a wanted object and the one found that stands in its place. */
  key(desired: D): string;
  observedKey(observed: O): string;
  /** For kinds of which the kernel takes several of one key: the key of a further one; undefined: it is the first again. */
  surplusKey?(observed: O, first: O): string | undefined;
  compare(desired: D, observed: O, ownDevices: ReadonlySet<string>): Verdict;
  /** Whether it goes when nobody wants it. Default: yes. */
  isRemovable?(observed: O, slots: Slots): boolean;
  /** Whether it takes packets for some address of these. Default: no. */
  leadsTo?(observed: O, prefixes: readonly Prefix[]): boolean;

  /** As `ip`, `bridge` or `sysctl` print it. */
  line(desired: D, ownDevices: ReadonlySet<string>): string;
  observedLine(observed: O): string;

  readonly source: Source<O>;
  /** What notifications of the kernel mean for it. */
  readonly notices: Notices;
  /**
   * For kinds of whose changes the kernel tells nobody: whether something is not as the slots say. Asked twice a second
   * while something of it is wanted; what it needs for that alone (counters, say) it may keep in the found sides. A look
   * follows. Throws when it cannot be read.
   */
  hasDeviated?(host: Host): Promise<boolean>;
  /** Kinds of one round are audited together, the rounds in turn: all at once costs 0.2 s of CPU with 10,000 peers. */
  readonly auditRound: 0 | 1 | 2;

  /**
   * All else hangs on it: it is part of every look and comes first in it; once one was made or changed, everything is
   * looked at again, and only that look tells what became of it.
   */
  readonly isFoundation?: true;
  /** The device it stands on: it goes with that device and cannot be made while the device is missing or down. */
  deviceOf?(object: D | O): string | undefined;
  /** The kernel also takes it on a device that is down. */
  readonly standsOnDownDevice?: true;
  /** A device, perhaps not ours, whose changes concern it. Default: the one it stands on. */
  dependsOn?(desired: D): string | undefined;
  /** What else has to be in place before it works. */
  requires?(desired: D, slots: Slots): readonly (Slot | undefined)[];
  /** Kinds whose objects on this device the kernel drops when the operation is carried out. */
  losses?(operation: Operation<D, O>): "everything" | readonly Kind[];

  /**
   * Carries out operations in order and keeps the found side of their slots true, also while it waits: a notification
   * of our own change has to find it as it says. One failure does not stop the others; it is returned, never thrown.
   */
  program(operations: readonly Operation<D, O>[], host: Host, signal: AbortSignal): Promise<readonly ProgramFailure[]>;
  /** Called after its removals: what served only those that are gone. */
  tidy?(host: Host, signal: AbortSignal): Promise<void>;
  /** For kinds that are written in a form which upstream does not know how to delete. */
  readonly plainForm?: PlainForm<O>;
}

/** `replace` changes it in place without a gap; `recreate` deletes and recreates it. A refusal says what to do. */
export type Verdict = "same" | "replace" | "recreate" | { readonly refusal: string };

export interface PlainForm<O> {
  /** From now on nothing is written in the other form. */
  require(host: Host): void;
  isPlain(observed: O): boolean;
}

/** One object: what is wanted beside what is found. */
export interface Slot<D = unknown, O = unknown> {
  readonly kind: Kind<string, D, O>;
  readonly key: string;
  desired: D | undefined;
  observed: O | undefined;
}

/** Every slot, by kind. */
export interface Slots {
  get<D, O>(kind: Kind<string, D, O>, key: string): Slot<D, O> | undefined;
  slots<D, O>(kind: Kind<string, D, O>): Iterable<Slot<D, O>>;
}

/** What is known of one host, and the way to its kernel. */
export interface Host {
  readonly netlink: Rtnetlink;
  readonly links: LinkDirectory;
  readonly ownership: Ownership;
  readonly slots: Slots;
  readonly memory: KindMemory;
}

export interface Operation<D = unknown, O = unknown> {
  readonly action: "add" | "replace" | "recreate" | "remove";
  readonly slot: Slot<D, O>;
}

export interface ProgramFailure {
  readonly slot: Slot;
  readonly error: FlannelError;
}

/** How it is found. */
export type Source<O> = Looked<O> | Listed<O>;

/** By a look of its own. */
export interface Looked<O> {
  look(host: Host): Promise<readonly O[]> | readonly O[];
}

/** In a listing of the kernel, which is asked for once for all kinds that are in it. */
export interface Listed<O, M extends ObjectKind = ObjectKind> {
  readonly listing: Listing<M>;
  open(host: Host): Promise<Reader<O, M>> | Reader<O, M>;
}

/** Compared by identity. */
export interface Listing<M extends ObjectKind = ObjectKind> {
  readonly objects: M;
  /** One dump each. */
  filters(host: Host): readonly DumpFilter[];
}

export interface Reader<O, M extends ObjectKind> {
  /** Undefined for what is another kind's or nobody's business. May see an object again when the kernel's list changed. */
  read(message: ObjectKinds[M]): O | undefined;
  /** Called with all that was found, before the slots get it. */
  end?(found: readonly O[]): void;
}

export type Change<M extends ObjectKind = ObjectKind> = MonitorMessage<M>;

/** By the kind of message. Undefined: all is as we know it, or none of our business. */
export type Notices = { readonly [M in ObjectKind]?: (change: Change<M>, watch: Watch) => Deviation | undefined };

/** Something is not as we left it. */
export interface Deviation {
  readonly lookAt: "everything" | readonly Kind[];
  /** What failed before may succeed now: devices or addresses we depend on changed. */
  readonly isNewChance: boolean;
}

/** What a notification is judged by. The kernel also reports our own changes: those find the slots as they say. */
export interface Watch {
  readonly host: Host;
  /** Devices that are not ours but on which we depend: underlay and those our routes lead out of. */
  readonly watchedDevices: ReadonlySet<string>;
  /** Whether it is not to be looked at now: another program changes it faster than we repair, and its next repair is due soon. */
  isResting(slot: Slot | undefined): boolean;
}

export function lookAt(...kinds: readonly Kind[]): Deviation {
  return { lookAt: kinds, isNewChance: false };
}
