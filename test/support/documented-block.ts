// Examples of the documentation, to be run as they stand there.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/vitest-run.ts";

/** The block of a page that contains `part`. Throws unless there is exactly one. `values` replace what readers fill in. */
export function documentedBlock(page: string, part: string, values: Readonly<Record<string, string>> = {}): string {
  const text = readFileSync(join(root, page), "utf8");
  const blocks = [...text.matchAll(/^```[a-z]*\n(.*?)^```$/gms)].map(([, block]) => block ?? "");
  const [found, ...others] = blocks.filter((block) => block.includes(part));
  if (found === undefined || others.length > 0) throw new Error(`${page} has not one block with ${part}`);
  return Object.entries(values).reduce((block, [written, value]) => {
    if (!block.includes(written)) throw new Error(`${page}: the block with ${part} has no ${written}`);
    return block.replaceAll(written, value);
  }, found);
}
