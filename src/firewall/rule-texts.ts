// The text of single rules, as their own tool prints them: read once for each rule that is reported.
import { findTool, tryTool } from "../sys/run-tool.ts";
import type { HookChain, ScanRule } from "./hook-chain.ts";

const MAX_TEXTS = 200;
const MAX_TEXT_CHARACTERS = 300;

export class RuleTexts {
  readonly #texts = new Map<string, string>();

  /** Much like the tool's own text, without what only counts. Where no tool tells it, the rule's handle. */
  async textOf(
    { family, table }: Pick<HookChain, "family" | "table">,
    chain: string,
    { handle, text }: Pick<ScanRule, "handle" | "text">,
  ): Promise<string> {
    if (text !== undefined) return shortened(text);
    const key = `${family} ${table} ${chain} ${handle}`;
    const known = this.#texts.get(key);
    if (known !== undefined) return known;
    const read = await readText(family, table, chain, handle);
    if (read === undefined) return `handle ${handle}`;
    if (this.#texts.size >= MAX_TEXTS) this.#texts.clear();
    this.#texts.set(key, read);
    return read;
  }
}

async function readText(family: string, table: string, chain: string, handle: string): Promise<string | undefined> {
  const nft = findTool("nft");
  if (nft === undefined) return undefined;
  const { stdout } = await tryTool(nft, ["-a", "list", "chain", family, table, chain]);
  const end = ` # handle ${handle}`;
  const line = stdout.split("\n").find((candidate) => candidate.endsWith(end));
  return line === undefined ? undefined : shortened(line.slice(0, -end.length));
}

function shortened(line: string): string {
  const plain = line
    .trim()
    .replaceAll(/ ?counter packets \d+ bytes \d+/g, "")
    .replaceAll(/ comment "(?:[^"\\]|\\.)*"/g, "")
    .replaceAll('"', "")
    .trim();
  return plain.length > MAX_TEXT_CHARACTERS ? `${plain.slice(0, MAX_TEXT_CHARACTERS)}…` : plain;
}
