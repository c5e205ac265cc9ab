// YAML, by a library that is large for what is seldom needed: to be loaded late. In a file of its own, so that it is
// bundled as a module with names: of a library that is none, a bundle loaded late has only the default export.
import { parse } from "yaml";

/** Throws the library's error, whose message quotes the text. */
export function parseYaml(text: string): unknown {
  return parse(text, { maxAliasCount: 100, logLevel: "error" });
}
