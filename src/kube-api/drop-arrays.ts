// Leaves arrays out of a JSON text without reading what is in them: most of a Node is a list of images that nobody asks
// for, and parsing it would be most of the work. Pure.

const [QUOTE, BACKSLASH, OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [
  0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d,
] as const;

export type ArrayDropper = (json: Uint8Array) => string;

/**
 * Puts `null` in place of arrays that are members of one of these names, at any depth. Only where the name, the colon and the
 * bracket follow each other without spaces, as API servers write them; else the array stays. A name that ends in `"NAME`
 * counts too. What is no JSON comes out as no JSON.
 */
export function arrayDropper(names: readonly string[]): ArrayDropper {
  const marks = names.map((name) => Buffer.from(`"${name}":[`));
  return (json) => {
    const bytes = Buffer.from(json.buffer, json.byteOffset, json.byteLength);
    let text = "";
    let from = 0;
    for (;;) {
      const array = nextArray(bytes, marks, from);
      const end = array === undefined ? undefined : endOfArray(bytes, array);
      if (array === undefined || end === undefined) return text + bytes.toString("utf8", from);
      text += `${bytes.toString("utf8", from, array)}null`;
      from = end;
    }
  };
}

/**
 * Where the bracket is. Within a string no quote stands without a backslash before it, so the mark's second quote ends a
 * string, and its colon makes that a name.
 */
function nextArray(bytes: Buffer, marks: readonly Buffer[], from: number): number | undefined {
  let first: number | undefined;
  for (const mark of marks) {
    const at = bytes.indexOf(mark, from);
    const bracket = at + mark.length - 1;
    if (at >= 0 && (first === undefined || bracket < first)) first = bracket;
  }
  return first;
}

/** Behind its closing bracket; undefined when there is none. */
function endOfArray(bytes: Buffer, bracket: number): number | undefined {
  let depth = 0;
  for (let at = bracket; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = endOfString(bytes, at);
      if (at < 0) return undefined;
    } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) depth++;
    else if ((byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) && --depth === 0) return at + 1;
  }
  return undefined;
}

/** Its closing quote, or -1. */
function endOfString(bytes: Buffer, start: number): number {
  for (let at = bytes.indexOf(QUOTE, start + 1); at >= 0; at = bytes.indexOf(QUOTE, at + 1)) {
    let backslashes = 0;
    while (bytes[at - 1 - backslashes] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return at;
  }
  return -1;
}
