// How a command becomes a program and its arguments without a shell, as upstream does since v0.28.2: split at white space,
// then variables replaced in each word, by the rules of Go's strings.Fields and os.Expand. Quotes mean nothing. Pure.

/** unicode.White_Space, which differs from JavaScript's \s in U+0085 and U+FEFF. */
const WHITE_SPACE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const gaps = new RegExp(`[${WHITE_SPACE}]+`);
const edges = new RegExp(`^[${WHITE_SPACE}]+|[${WHITE_SPACE}]+$`, "g");

/** Variables that are not set are empty; a word that becomes empty stays a word. */
export function commandWords(command: string, variables: Readonly<Record<string, string | undefined>>): string[] {
  return command
    .split(gaps)
    .filter((word) => word !== "")
    .map((word) => expand(word, (name) => variables[name] ?? ""));
}

export function trimWhiteSpace(text: string): string {
  return text.replaceAll(edges, "");
}

/**
 * `${name}` with anything but a brace in it; one of the shell's special names, of one character; letters, digits and `_`.
 * `${}` and an unclosed `${` vanish, any other `$` stays.
 */
const REFERENCE = /\$(?:\{([^}]*)\}|(\{)|([*#$@!?\-0-9])|([A-Za-z_]\w*))/g;

function expand(word: string, variable: (name: string) => string): string {
  return word.replaceAll(REFERENCE, (_, braced?: string, _open?: string, special?: string, name?: string) => {
    const found = braced ?? special ?? name;
    return found === undefined || found === "" ? "" : variable(found);
  });
}
