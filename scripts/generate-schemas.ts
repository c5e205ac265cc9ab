// Writes docs/schemas: a JSON Schema (draft 2020-12) for what each verb of flannelctl writes with --json, and for its errors.
// With --check it only says whether a file is stale, missing or too many (exit 1).
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { publishedSchemas, schemaFileName } from "../src/cli/flannelctl/session/json-output.ts";

const directory = fileURLToPath(new URL("../docs/schemas", import.meta.url));

/** zod adds the range of safe integers to every integer, a pattern to every time, and closes objects to which we add fields. */
function simplify(node: z.core.JSONSchema.BaseSchema): void {
  if (node.additionalProperties === false) delete node.additionalProperties;
  if (node.minimum === Number.MIN_SAFE_INTEGER) delete node.minimum;
  if (node.maximum === Number.MAX_SAFE_INTEGER) delete node.maximum;
  if (node.format === "date-time") delete node.pattern;
}

function render(verb: string, schema: z.ZodType): string {
  const { $schema, ...rest } = z.toJSONSchema(schema, { override: ({ jsonSchema }) => simplify(jsonSchema) });
  const title = verb === "error" ? "what flannelctl --json writes to standard error" : `flannelctl ${verb} --json`;
  return `${formatJson({ $schema, title, ...rest }, "")}\n`;
}

/** JSON in which whatever fits on a line is on one line. */
function formatJson(value: unknown, indent: string): string {
  const line = JSON.stringify(value);
  if (line.length + indent.length <= 100 || typeof value !== "object" || value === null) return line;
  const inner = `${indent}  `;
  if (Array.isArray(value)) return `[\n${value.map((item) => inner + formatJson(item, inner)).join(",\n")}\n${indent}]`;
  const members = Object.entries(value).map(
    ([key, item]) => `${inner}${JSON.stringify(key)}: ${formatJson(item, inner)}`,
  );
  return `{\n${members.join(",\n")}\n${indent}}`;
}

function stored(name: string): string | undefined {
  try {
    return readFileSync(join(directory, name), "utf8");
  } catch {
    return undefined;
  }
}

mkdirSync(directory, { recursive: true });
const fresh = new Map(
  Object.entries(publishedSchemas).map(([verb, schema]) => [schemaFileName(verb), render(verb, schema)] as const),
);
const surplus = readdirSync(directory).filter((name) => !fresh.has(name));
const stale = [...fresh].filter(([name, text]) => stored(name) !== text);
if (!process.argv.includes("--check")) {
  for (const name of surplus) rmSync(join(directory, name));
  for (const [name, text] of stale) writeFileSync(join(directory, name), text);
} else if (stale.length + surplus.length > 0) {
  const names = [...stale.map(([name]) => name), ...surplus].join(", ");
  process.stderr.write(`docs/schemas is stale (${names}): run node scripts/generate-schemas.ts\n`);
  process.exitCode = 1;
}
