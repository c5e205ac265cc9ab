// Regular expressions as Go writes them (RE2), for `--iface-regex`. Pure.
import { FlannelError } from "../errors.ts";

const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  digit: "0-9",
  lower: "a-z",
  upper: "A-Z",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/**
 * Compiles what RE2 and JavaScript both know; throws `CONFIG_INVALID` for what RE2 does not know (look-around, back
 * references) and for what is wrong in both. Unanchored like Go's MatchString.
 */
export function compileGoRegex(pattern: string): RegExp {
  if (/^(?:[^\\]|\\.)*\(\?(?:<?[=!])/s.test(pattern)) throw invalid(pattern, "look-around is not supported");
  if (/^(?:[^\\]|\\.)*?\\[1-9k]/s.test(pattern)) throw invalid(pattern, "back references are not supported");
  const inline = /^\(\?([ims]+)\)/.exec(pattern);
  const translated = pattern
    .slice(inline?.[0].length ?? 0)
    .replaceAll(/\\Q(.*?)(?:\\E|$)/gs, (_, literal: string) => literal.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"))
    .replaceAll("(?P<", "(?<")
    .replaceAll(/\[:(\w+):\]/g, (text, name: string) => POSIX_CLASSES[name] ?? text)
    .replaceAll(/(\\\\)|\\([Az])/g, (text, escaped: string | undefined, anchor: string) => {
      if (escaped !== undefined) return text;
      return anchor === "A" ? "(?<![\\s\\S])" : "(?![\\s\\S])";
    });
  try {
    return new RegExp(translated, inline?.[1] ?? "");
  } catch (error) {
    throw invalid(pattern, error instanceof Error ? error.message : String(error), error);
  }
}

function invalid(pattern: string, reason: string, cause?: unknown): FlannelError {
  return new FlannelError("CONFIG_INVALID", `--iface-regex=${pattern} is not a regular expression: ${reason}`, {
    cause,
  });
}
