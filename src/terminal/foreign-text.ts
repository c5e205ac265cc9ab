// Foreign text made harmless where it reaches a terminal, a log or another program's screen: nothing in it may drive the
// terminal, turn the direction of a line, or begin a line of its own. Pure.

/** C0, DEL and C1, which terminals obey; marks that turn the direction of text, and separators of lines. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const HARMFUL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** The same as far as they may stand raw in JSON. */
const HARMFUL_IN_JSON = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** On one line, each harmful character shown as `\x1b`. */
export function printable(text: string): string {
  return text.replaceAll(HARMFUL, (character) => {
    const code = character.charCodeAt(0);
    return code > 0xff ? `\\u${code.toString(16)}` : `\\x${code.toString(16).padStart(2, "0")}`;
  });
}

/** As `printable`, for prose: white space of any kind is a space. */
export function oneLine(text: string): string {
  return printable(text.replaceAll(/[\t\n\v\f\r]+/g, " "));
}

/** A copy of parsed JSON in which every string, keys included, is printable. */
export function printableDeep<T>(value: T): T;
export function printableDeep(value: unknown): unknown {
  if (typeof value === "string") return printable(value);
  if (Array.isArray(value)) return value.map((item) => printableDeep<unknown>(item));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [printable(key), printableDeep<unknown>(item)]));
}

/** The text of the same JSON value, without a harmful character. */
export function printableJson(json: string): string {
  return json.replaceAll(HARMFUL_IN_JSON, unicodeEscape);
}

/** A document that a person wrote, lines and all: JSON stays the same JSON. What JSON does not allow becomes visible. */
export function printableDocument(text: string): string {
  // A lone carriage return, white space like the others in JSON, would let a terminal write over the line.
  const lines = text.replaceAll(/\r(?!\n)/g, "\n");
  return lines.replaceAll(HARMFUL, (character) => (/[\t\n\r]/.test(character) ? character : unicodeEscape(character)));
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
