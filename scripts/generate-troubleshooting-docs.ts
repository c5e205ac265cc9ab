// Writes the tables of docs/troubleshooting.md between their markers, from the registries of log events and error codes;
// the rest of the page is written by hand. With --check it only says whether the page is stale (exit 1).
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type ErrorCode, errorCodes, FlannelError } from "../src/errors.ts";
import { agentExitCode, exitCodeOfError } from "../src/exit-codes.ts";
import type { EventDefinition } from "../src/telemetry/events/definition.ts";
import { logEvents } from "../src/telemetry/events.ts";

const path = fileURLToPath(new URL("../docs/troubleshooting.md", import.meta.url));

const retryTexts = {
  agent: "the agent retries",
  later: "the same may succeed later",
  remedy: "only after the remedy",
} as const;

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => "---"), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`)
    .join("");
}

function levelText({ levels, verbosity }: EventDefinition): string {
  return verbosity === undefined ? levels.join(", ") : `\`-v=${verbosity}\``;
}

function eventTable(): string {
  const definitions = Object.entries<EventDefinition>(logEvents).sort(([a], [b]) => (a < b ? -1 : 1));
  return table(
    ["event", "level", "meaning", "what to do"],
    definitions.map(([event, one]) => [`\`${event}\``, levelText(one), one.meaning, one.remedy]),
  );
}

/** Of any program that ends with it; flanneld has one of its own for a lost lease. */
function exitText(code: ErrorCode): string {
  const error = new FlannelError(code, "");
  const [others, agent] = [exitCodeOfError(error), agentExitCode(error)];
  return others === agent ? String(others) : `flanneld ${agent}, others ${others}`;
}

function errorTable(): string {
  return table(
    ["code", "meaning", "what to do", "retry", "exit code"],
    Object.entries(errorCodes).map(([code, { meaning, remedy, retry }]) => [
      `\`${code}\``,
      meaning,
      remedy,
      retryTexts[retry],
      exitText(code as ErrorCode),
    ]),
  );
}

/** Replaces what stands between `<!-- generated: NAME … -->` and the next `<!-- end -->`. */
function filled(page: string, name: string, content: string): string {
  const begin = page.indexOf(`<!-- generated: ${name}`);
  const from = page.indexOf("-->\n", begin) + "-->\n".length;
  const to = page.indexOf("<!-- end -->", from);
  if (begin === -1 || to === -1) throw new Error(`docs/troubleshooting.md has no markers for ${name}`);
  return `${page.slice(0, from)}\n${content}\n${page.slice(to)}`;
}

const stored = readFileSync(path, "utf8");
const fresh = filled(filled(stored, "events", eventTable()), "errors", errorTable());
if (stored !== fresh && process.argv.includes("--check")) {
  console.error("docs/troubleshooting.md is stale: run node scripts/generate-troubleshooting-docs.ts");
  process.exitCode = 1;
} else if (stored !== fresh) {
  writeFileSync(path, fresh);
}
