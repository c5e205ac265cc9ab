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
  const entries: JsonEntry[] = [];
  let depth = 0;
  let key: string | undefined;
  let valueStart = -1;
  let valueEnd = -1;
  for (const match of text.matchAll(token)) {
    const [part] = match;
    const isClosing = part === "}" || part === "]";
    if (isClosing) depth--;
    if (depth === (isClosing ? 0 : 1) && (part === "," || isClosing)) {
      if (key !== undefined) entries.push(toEntry(key, text.slice(valueStart, valueEnd)));
      key = undefined;
    } else if (depth === 1 && key === undefined) {
      key = part;
      valueStart = -1;
    } else if (depth >= 1 && !(depth === 1 && part === ":" && valueStart < 0)) {
      if (valueStart < 0) valueStart = match.index;
      valueEnd = match.index + part.length;
    }
    if (part === "{" || part === "[") depth++;
    if (depth > MAX_DEPTH) throw new RangeError(`nested more than ${MAX_DEPTH} deep`);
  }
  return entries;
}

/** Name of a JSON value's type, as in messages: null, array, object, string, number, boolean. */
export function jsonTypeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function toEntry(keyText: string, raw: string): JsonEntry {
  return { key: String(JSON.parse(keyText)), raw, value: JSON.parse(raw) };
}
