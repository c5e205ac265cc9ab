// Help and documentation of a table of flags. Pure.
import { environmentName, type FlagDefinition, type ParsedFlags } from "./flags.ts";

/** Flags grouped, in the order of the table, wrapped at 100 columns. */
export function flagsHelp(definitions: readonly FlagDefinition[]): string {
  const groups = Map.groupBy(definitions, ({ group }) => group);
  return [...groups].map(([group, flags]) => `${group}:\n${flags.map(helpEntry).join("")}`).join("\n");
}

/** Rows of a Markdown table: flag, variable, type, default, meaning. */
export function flagsMarkdown(definitions: readonly FlagDefinition[]): string {
  const groups = Map.groupBy(definitions, ({ group }) => group);
  return [...groups]
    .map(([group, flags]) => {
      const rows = flags.map((flag) => `| ${markdownCells(flag).join(" | ")} |\n`).join("");
      return `### ${group}\n\n| flag | variable | type | default | meaning |\n|---|---|---|---|---|\n${rows}`;
    })
    .join("\n");
}

/** What was given by flag or variable, for the log; secrets, also inside URLs, are hidden. */
export function describeGiven(definitions: readonly FlagDefinition[], parsed: ParsedFlags): Record<string, string> {
  const given = definitions.filter(({ name }) => parsed.sources.has(name));
  return Object.fromEntries(
    given.map((flag) => {
      const text = String(parsed.values.get(flag.name)).replaceAll(/[^/,\s]*@/g, "(hidden)@");
      return [flag.name, flag.isSecret === true ? "(hidden)" : text];
    }),
  );
}

function helpEntry(flag: FlagDefinition): string {
  const value = flag.kind === "bool" ? "" : ` ${valueName(flag)}`;
  const head = `  ${flag.name.length === 1 ? "-" : "--"}${flag.name}${value}`;
  const text = `${sentence(flag)}${defaultNote(flag)}`.replaceAll("`", "");
  const indent = " ".repeat(30);
  const lines = wrap(text, 70);
  const first = head.length < 29 ? `${head.padEnd(30)}${lines.shift() ?? ""}` : head;
  return [first, ...lines.map((line) => indent + line)].map((line) => `${line}\n`).join("");
}

function sentence(flag: FlagDefinition): string {
  const repeat = flag.kind === "strings" ? " May be given several times." : "";
  const note = flag.hasNoEffect === true ? " No effect." : "";
  return `${flag.description}${repeat}${note}`;
}

function defaultNote(flag: FlagDefinition): string {
  const text = defaultText(flag);
  return text === "" || text === "false" ? "" : ` (default ${text})`;
}

function defaultText(flag: FlagDefinition): string {
  return flag.kind === "strings" ? "" : String(flag.default);
}

function valueName(flag: FlagDefinition): string {
  return flag.valueName ?? (flag.kind === "int" ? "NUMBER" : "TEXT");
}

function markdownCells(flag: FlagDefinition): string[] {
  const type = flag.kind === "strings" ? "string, repeatable" : flag.kind;
  const text = defaultText(flag);
  return [
    `\`${flag.name.length === 1 ? "-" : "--"}${flag.name}\``,
    flag.fromEnvironment === false ? "" : `\`${environmentName(flag.name)}\``,
    type,
    text === "" ? "" : `\`${text}\``,
    sentence(flag),
  ].map((cell) => cell.replaceAll("|", "\\|"));
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}
