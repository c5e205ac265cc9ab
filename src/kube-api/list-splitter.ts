// Takes a list of the Kubernetes API apart while it comes in: each item's bytes are handed on, and the rest of the document
// is kept. So a list of any length needs the memory of one item. Pure.

const [QUOTE, BACKSLASH, OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY, COMMA] = [
  0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d, 0x2c,
] as const;

export class ListSplitter {
  readonly #onItem: (bytes: Uint8Array) => void;
  readonly #maxItemBytes: number;
  #depth = 0;
  /** Where the next byte stands; `escape`: within a string, behind a backslash. */
  #place: "structure" | "string" | "escape" = "structure";
  /** Within the array at the top of the document: there is only one, `items`. */
  #isInItems = false;
  #itemParts: Uint8Array[] = [];
  #itemBytes = 0;
  #rest = "";
  readonly #decoder = new TextDecoder();

  constructor(onItem: (bytes: Uint8Array) => void, maxItemBytes: number) {
    this.#onItem = onItem;
    this.#maxItemBytes = maxItemBytes;
  }

  /** The next bytes, wherever they were cut. Throws a RangeError for an item that is too long. */
  push(chunk: Uint8Array): void {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      if (this.#place !== "structure") {
        at = this.#skipString(chunk, at);
        continue;
      }
      from = this.#structure(chunk, at, from);
    }
    this.#keep(chunk, from, chunk.length, this.#isInItems);
  }

  /** A byte outside a string; returns from where on nothing is kept yet. */
  #structure(chunk: Uint8Array, at: number, from: number): number {
    const byte = chunk[at];
    switch (byte) {
      case QUOTE:
        this.#place = "string";
        return from;
      case OPEN_OBJECT:
      case OPEN_ARRAY: {
        this.#depth++;
        const isOfItems = byte === OPEN_ARRAY && this.#depth === 2 && !this.#isInItems;
        return isOfItems ? this.#keep(chunk, from, at + 1, true) : from;
      }
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        this.#depth--;
        return this.#isInItems && this.#depth === 1 ? this.#finishItem(chunk, from, at, false) : from;
      case COMMA:
        return this.#isInItems && this.#depth === 2 ? this.#finishItem(chunk, from, at, true) : from;
      default:
        return from;
    }
  }

  /** The document without its items. Throws a SyntaxError when it was no JSON, or was cut off. */
  end(): unknown {
    return JSON.parse(this.#rest);
  }

  /** Returns where the string ends, or the last byte of the chunk. */
  #skipString(chunk: Uint8Array, start: number): number {
    let at = start;
    if (this.#place === "escape") {
      this.#place = "string";
      at++;
    }
    for (; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === BACKSLASH) {
        at++;
        if (at === chunk.length) this.#place = "escape";
      } else if (byte === QUOTE) {
        this.#place = "structure";
        return at;
      }
    }
    return chunk.length - 1;
  }

  /** Keeps what was passed, with the item or with the rest. Returns where the next begins. */
  #keep(chunk: Uint8Array, from: number, to: number, isInItemsNow: boolean): number {
    const part = chunk.subarray(from, to);
    if (this.#isInItems) {
      this.#itemBytes += part.length;
      if (this.#itemBytes > this.#maxItemBytes) {
        throw new RangeError(`an item is longer than ${this.#maxItemBytes} bytes`);
      }
      if (part.length > 0) this.#itemParts.push(part);
    } else {
      this.#rest += this.#decoder.decode(part, { stream: true });
      if (this.#rest.length > this.#maxItemBytes) throw new RangeError("the list is not one");
    }
    this.#isInItems = isInItemsNow;
    return to;
  }

  #finishItem(chunk: Uint8Array, from: number, at: number, hasMore: boolean): number {
    this.#keep(chunk, from, at, true);
    const bytes = joined(this.#itemParts, this.#itemBytes);
    this.#itemParts = [];
    this.#itemBytes = 0;
    if (!isBlank(bytes)) this.#onItem(bytes);
    this.#isInItems = hasMore;
    // The comma goes; the bracket belongs to the rest.
    return hasMore ? at + 1 : at;
  }
}

/** Of JSON's white space alone. */
function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09);
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [only, second] = parts;
  if (only !== undefined && second === undefined) return only;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
