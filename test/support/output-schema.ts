// Holds what flannelctl writes with --json against the published schemas: the files themselves, not what they are made from.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { publishedSchemas, schemaFileName } from "../../src/cli/flannelctl/session/json-output.ts";

const directory = fileURLToPath(new URL("../../docs/schemas/", import.meta.url));
const known = new Map<string, z.ZodType>();

function schemaOf(verb: string): z.ZodType {
  const schema =
    known.get(verb) ?? z.fromJSONSchema(JSON.parse(readFileSync(directory + schemaFileName(verb), "utf8")));
  known.set(verb, schema);
  return schema;
}

/** Throws, naming the verb, when `text` is no output of it as published. */
export function parseOutput(verb: string, text: string): unknown {
  const checked = schemaOf(verb).safeParse(JSON.parse(text));
  if (checked.success) return checked.data;
  throw new Error(`not as docs/schemas/${schemaFileName(verb)} says: ${z.prettifyError(checked.error)}\n${text}`);
}

/** For one run with --json: a result by the schema of its verb, or an error by that of errors. */
export function expectPublishedShape(argv: readonly string[], stdout: string, stderr: string): void {
  if (stdout.startsWith("{")) parseOutput(verbOf(argv), stdout);
  for (const line of stderr.split("\n").filter((entry) => entry.startsWith("{"))) parseOutput("error", line);
}

/** The words of a verb follow each other; options may stand before and behind them. */
function verbOf(argv: readonly string[]): string {
  const verbs = Object.keys(publishedSchemas).toSorted((a, b) => b.length - a.length);
  const verb = verbs.find((name) => ` ${argv.join(" ")} `.includes(` ${name} `));
  if (verb === undefined) throw new Error(`no verb in ${argv.join(" ")}`);
  return verb;
}
