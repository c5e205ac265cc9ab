// Splits the text of a JSON object into its keys and raw values, in order and with duplicates, as Go's decoder sees
// them: JSON.parse alone loses the order of duplicates that differ in case and the spelling of numbers. Pure.

export interface JsonEntry {
  readonly key: string;
  /** The value's own JSON text. */
  readonly raw: string;
  readonly value: unknown;
}

const MAX_DEPTH = 64;
/** One token: a string, a bracket, a comma, a colon, or a run of anything else (number, literal). */
const token = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/gsu;

/**
 * Entries of a JSON object. Throws a SyntaxError for text that is not JSON, a TypeError when it is not an object and
 * a RangeError when it is nested more than 64 deep.
 */
export function jsonEntries(text: string): JsonEntry[] {
  const whole: unknown = JSON.parse(text);
  if (jsonTypeOf(whole) !== "object") throw new TypeError(`expected a JSON object, found ${jsonTypeOf(whole)}`);
  // The text is known to be valid from here on, so counting brackets is enough.
  return membersOf(text).map(({ key, start, end }) => {
    const raw = text.slice(start, end);
    return { key: String(JSON.parse(key)), raw, value: JSON.parse(raw) };
  });
}

interface Member {
  /** Its JSON text. */
  key: string;
  /** Where the value's text is. */
  start: number;
  end: number;
  /** Key, colon, and those of the value. */
  tokens: number;
}

const openings: ReadonlySet<string> = new Set(["{", "["]);
const closings: ReadonlySet<string> = new Set(["}", "]"]);

/** Of the outermost object. */
function membersOf(text: string): Member[] {
  const members: Member[] = [];
  let member = noMember();
  let depth = 0;
  for (const { 0: part, index } of text.matchAll(token)) {
    if (closings.has(part)) depth--;
    if (endsMember(part, depth)) {
      if (member.tokens > 0) members.push(member);
      member = noMember();
    } else if (depth > 0) {
      addToken(member, part, index);
    }
    if (openings.has(part)) depth++;
    if (depth > MAX_DEPTH) throw new RangeError(`nested more than ${MAX_DEPTH} deep`);
  }
  return members;
}

/** `depth`: behind the token. */
function endsMember(part: string, depth: number): boolean {
  return part === "," ? depth === 1 : depth === 0 && part === "}";
}

function noMember(): Member {
  return { key: "", start: 0, end: 0, tokens: 0 };
}

function addToken(member: Member, part: string, index: number): void {
  if (member.tokens === 0) member.key = part;
  if (member.tokens === 2) member.start = index;
  member.end = index + part.length;
  member.tokens++;
}

/** Name of a JSON value's type, as in messages: null, array, object, string, number, boolean. */
export function jsonTypeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
