// Secrets in the network configuration: hidden where its text is shown, and put back where a shown text is stored again.
import { backends } from "../../../backend/registry.ts";
import { foldKey } from "../../../json/nearest.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";

/** What stands for a secret. It is no valid key, so it is never taken for one. */
export const HIDDEN = "(hidden)";

const secretNames: ReadonlySet<string> = new Set(
  backends.modules.flatMap(({ keys }) =>
    keys.flatMap(({ name, isSecret }) => (isSecret === true ? [foldKey(name)] : [])),
  ),
);

/** The text with each secret replaced; all else stays as it was written. */
export function hideSecrets(text: string): string {
  return replaceSecrets(text, () => HIDDEN);
}

/** The text with each `(hidden)` replaced by the secret that the stored text has under this name. */
export function restoreSecrets(text: string, stored: string | undefined): string {
  const known = stored === undefined ? new Map<string, string>() : secretsOf(stored);
  return replaceSecrets(text, (name, value) => (value === HIDDEN ? (known.get(name) ?? value) : value));
}

/** Their values. */
export function secretsIn(text: string): readonly string[] {
  return [...secretsOf(text).values()];
}

/** By name, folded. */
function secretsOf(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  replaceSecrets(text, (name, value) => {
    found.set(name, value);
    return value;
  });
  return found;
}

/** Members of any object whose name is one of a secret's, wherever they stand: a text that cannot be parsed is searched, too. */
function replaceSecrets(text: string, replace: (name: string, value: string) => string): string {
  return text.replaceAll(
    /("(?:[^"\\\n]|\\.)*")(\s*:\s*)("(?:[^"\\\n]|\\.)*")/g,
    (whole, name: string, colon, literal: string) => {
      const key = tryParseJson(name);
      const value = tryParseJson(literal);
      if (typeof key !== "string" || typeof value !== "string" || value === "" || !secretNames.has(foldKey(key)))
        return whole;
      return `${name}${colon}${JSON.stringify(replace(foldKey(key), value))}`;
    },
  );
}
