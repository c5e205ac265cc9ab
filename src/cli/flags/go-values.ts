// Text of values as Go's strconv reads them. Pure.

const INT64_LIMIT = 1n << 63n;

/** strconv.ParseBool. */
export function tryParseGoBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  return ["0", "f", "F", "false", "FALSE", "False"].includes(text) ? false : undefined;
}

/**
 * strconv.ParseInt(text, 0, 64): decimal, 0x, 0o, 0b or a leading 0 for octal; single underscores between digits, also
 * after the base prefix. Undefined for anything else and outside 64 bits. Beyond 2^53 the number is the nearest double.
 */
export function tryParseGoInt(text: string): number | undefined {
  if (text.length > 100) return undefined;
  const [, sign = "", unsigned = ""] = /^([+-]?)([\s\S]*)$/.exec(text) ?? [];
  const lowered = unsigned.toLowerCase();
  if (!/^(?:0x(?:_?[\da-f])+|0b(?:_?[01])+|0o(?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?\d)*)$/.test(lowered))
    return undefined;
  const digits = lowered.replaceAll("_", "");
  const magnitude = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const value = sign === "-" ? -magnitude : magnitude;
  return value >= -INT64_LIMIT && value < INT64_LIMIT ? Number(value) : undefined;
}
