// How two hosts see each other, in words, and how bad that is. Pure.
import type { PairItem, SeenItem } from "./messages.ts";
import { milliseconds, peerStates, percent, type StateWords } from "./words.ts";

type SeenState = SeenItem["state"];

/** States in which probes of the host are answered. */
const reached: ReadonlySet<SeenState | undefined> = new Set<SeenState>(["up", "slow"]);

const absent: StateWords = {
  name: "not known there",
  glyph: "∅",
  tone: "bad",
  meaning: "the host does not know its lease",
};

export const oneWayIn: StateWords = {
  ...peerStates.oneWay,
  glyph: "⇤",
  meaning: "packets of the column do not arrive at the row",
};
export const oneWayOut: StateWords = {
  ...peerStates.oneWay,
  meaning: "packets of the row do not arrive at the column, or only the column gets answers",
};

export function seenWords(state: SeenState): StateWords {
  return state === "absent" ? absent : peerStates[state];
}

/** As `seenWords`, but for one way, which two hosts may show together. */
export function pairWords({ state, direction }: SeenItem, back: SeenState | undefined): StateWords {
  if (!isOneWay(state, back)) return seenWords(state);
  return direction === "in" ? oneWayIn : oneWayOut;
}

/** A host says so itself, or the two do not agree: the probes of one are answered, those of the other are not. */
export function isOneWay(state: SeenState, back: SeenState | undefined): boolean {
  return state === "oneWay" || (state === "down" && reached.has(back));
}

/** Grows with how bad it is; 0 for none. */
export function troubleOf({
  state,
  back,
}: {
  readonly state: SeenState;
  readonly back?: SeenState | undefined;
}): number {
  if (isOneWay(state, back)) return 4;
  return state === "down" || state === "absent" ? 3 : state === "mtuBroken" ? 2 : state === "suspect" ? 1 : 0;
}

/** `up, round trip 0.31 ms`. */
export function describeSeen({ state, reason, rttSeconds, lossRatio, mtuBytes }: SeenItem): string {
  return [
    seenWords(state).name,
    ...(reason === undefined ? [] : [reason]),
    ...(rttSeconds === undefined ? [] : [`round trip ${milliseconds(rttSeconds)}`]),
    ...(lossRatio === undefined ? [] : [`loss ${percent(lossRatio)}`]),
    ...(mtuBytes === undefined ? [] : [`MTU ${mtuBytes}`]),
  ].join(", ");
}

/** Beside the name of the state: why, and what the other end says. */
export function describeTrouble({ state, reason, back }: PairItem): string {
  const other =
    back === undefined ? "what is seen from there is not known" : `seen from there: ${seenWords(back).name}`;
  return [...(reason === undefined ? [seenWords(state).meaning] : [reason]), other].join("; ");
}
