// Where a text stops being JSON, for people who have to mend it: the engine's own messages name a place for some errors
// only. Pure.

const blanks = /[ \t\n\r]*/y;
const scalar = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
const string = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4}))*"/y;

/** Of a text that JSON.parse refuses: "line 2, column 15: a comma or a closing brace is missing". Columns count from 1. */
export function describeJsonError(text: string): string {
  const { at, what } = findError(text) ?? { at: text.length, what: "the text cannot be read" };
  const before = text.slice(0, at).split("\n");
  return `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${what}`;
}

interface JsonError {
  readonly at: number;
  readonly what: string;
}

/** Undefined for JSON. Needs no stack of calls, however deeply the text is nested. */
export function findError(text: string): JsonError | undefined {
  const open: ("{" | "[")[] = [];
  let at = skip(text, blanks, 0);
  for (;;) {
    const end = afterMember(text, at, open);
    if (typeof end !== "number") return end;
    const around = open.at(-1);
    if (around === undefined) {
      return end === text.length ? undefined : { at: end, what: "something follows the JSON value" };
    }
    if (text[end] !== ",") {
      return missing(text, end, `a comma or a closing ${around === "{" ? "brace" : "bracket"} is missing`);
    }
    at = skip(text, blanks, end + 1);
  }
}

/** Behind the value at `start`, which has a key in an object, or behind the first scalar or empty container in it. */
function afterMember(text: string, start: number, open: ("{" | "[")[]): number | JsonError {
  let at = start;
  for (;;) {
    const value = open.at(-1) === "{" ? afterKey(text, at) : at;
    if (typeof value !== "number") return value;
    const opened = text[value];
    if (opened !== "{" && opened !== "[") {
      const end = afterScalar(text, value);
      return typeof end === "number" ? afterValue(text, end, open, false) : end;
    }
    open.push(opened);
    at = skip(text, blanks, value + 1);
    if (text[at] === closing(opened)) return afterValue(text, at + 1, open, true);
  }
}

/** Where the value of the key at `at` begins. */
function afterKey(text: string, at: number): number | JsonError {
  const key = skip(text, string, at);
  if (key === at) return missing(text, at, "a key in double quotes is missing");
  const colon = skip(text, blanks, key);
  if (text[colon] !== ":") return missing(text, colon, "a colon is missing");
  return skip(text, blanks, colon + 1);
}

/** Behind a string, number or literal. */
function afterScalar(text: string, at: number): number | JsonError {
  const end = Math.max(skip(text, scalar, at), skip(text, string, at));
  if (end !== at) return end;
  return missing(text, at, text[at] === '"' ? "a string is malformed or not closed" : "a value is missing");
}

/** Behind all that ends at `at`: the container itself when `isClosed`, and those that close right after it. */
function afterValue(text: string, at: number, open: ("{" | "[")[], isClosed: boolean): number {
  if (isClosed) open.pop();
  let next = skip(text, blanks, at);
  while (open.length > 0 && text[next] === closing(open.at(-1))) {
    open.pop();
    next = skip(text, blanks, next + 1);
  }
  return next;
}

function closing(container: "{" | "[" | undefined): string {
  return container === "{" ? "}" : "]";
}

function skip(text: string, token: RegExp, at: number): number {
  token.lastIndex = at;
  return token.test(text) ? token.lastIndex : at;
}

function missing(text: string, at: number, what: string): JsonError {
  return { at, what: at >= text.length ? `the text ends here, but ${what}` : what };
}
