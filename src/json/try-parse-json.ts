// JSON of unknown origin. Pure.

/** The parsed value; undefined for what is not JSON. JSON itself has no undefined. */
export function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
