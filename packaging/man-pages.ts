// Manual pages from what the programs say about themselves: flanneld(8), flannel-store(8), flannelctl(1). Pure.
import type { Command } from "commander";
import type { FlagDefinition } from "../src/cli/flags/flags.ts";
import { environmentName } from "../src/cli/flags/flags.ts";
import { notesText } from "../src/cli/flannelctl/command-notes.ts";
import { exitCodeMeanings, exitCodes } from "../src/exit-codes.ts";

interface Page {
  readonly name: string;
  readonly section: 1 | 8;
  readonly summary: string;
  readonly synopsis: string;
  readonly body: string;
  readonly seeAlso: readonly string[];
}

/** Text in roff: what would be a request or an escape stays text. */
export function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(?=[.'])/gm, "\\&");
}

export function daemonPage(
  name: "flanneld" | "flannel-store",
  summary: string,
  flags: readonly FlagDefinition[],
  version: string,
): string {
  const groups = Map.groupBy(flags, ({ group }) => group);
  const sections = [...groups].map(
    ([group, members]) => `.SS ${roff(group)}\n${members.map((flag) => flagEntry(flag, name === "flanneld")).join("")}`,
  );
  return page(
    {
      name,
      section: 8,
      summary,
      synopsis: `.B ${roff(name)}\n[\\fIFLAG\\fR]...`,
      body: `.SH OPTIONS\n${sections.join("")}${exitStatus()}`,
      seeAlso: ["flannelctl(1)", name === "flanneld" ? "flannel-store(8)" : "flanneld(8)"],
    },
    version,
  );
}

function flagEntry(flag: FlagDefinition, hasVariables: boolean): string {
  const dashes = flag.name.length === 1 ? "-" : "--";
  const value =
    flag.kind === "bool" ? "" : ` \\fI${roff(flag.valueName ?? (flag.kind === "int" ? "NUMBER" : "TEXT"))}\\fR`;
  const text = flag.kind === "strings" ? "" : String(flag.default);
  const byDefault = text === "" || text === "false" ? "" : ` Default: ${text}.`;
  const repeated = flag.kind === "strings" ? " May be given several times." : "";
  const variable = !hasVariables || flag.fromEnvironment === false ? "" : ` Variable: ${environmentName(flag.name)}.`;
  const meaning = `${flag.description}${repeated}${byDefault}${variable}`.replaceAll("`", "");
  return `.TP\n\\fB${roff(dashes + flag.name)}\\fR${value}\n${roff(meaning)}\n`;
}

export function flannelctlPage(program: Command, version: string): string {
  const verbs = leaves(program);
  const commands = verbs.map(
    (command) =>
      `.SS ${roff(titleOf(command))}\n${roff(command.description())}\n${optionsOf(command)}${notesOf(command)}`,
  );
  return page(
    {
      name: "flannelctl",
      section: 1,
      summary: "manages flannel: the agent on this host, the leases and the configuration in the store",
      synopsis: ".B flannelctl\n[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...",
      body: `.SH OPTIONS\n${optionsOf(program)}.SH COMMANDS\n${commands.join("")}${exitStatus()}`,
      seeAlso: ["flanneld(8)", "flannel-store(8)"],
    },
    version,
  );
}

function leaves(command: Command): readonly Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function titleOf(command: Command): string {
  const parent = command.parent;
  const before = parent === null || parent.parent === null ? "" : `${titleOf(parent)} `;
  const usage = command.registeredArguments.map((argument) => {
    const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
    return argument.required ? ` <${name}>` : ` [${name}]`;
  });
  return `${before}${command.name()}${usage.join("")}`;
}

function optionsOf(command: Command): string {
  const options = command.createHelp().visibleOptions(command);
  return options
    .map((option) => `.TP\n\\fB${roff(option.flags)}\\fR\n${roff(command.createHelp().optionDescription(option))}\n`)
    .join("");
}

/** Examples and exit codes, with the lines of the help. */
function notesOf(command: Command): string {
  const notes = notesText(command).trim();
  return notes === "" ? "" : `.PP\n.nf\n${roff(notes)}\n.fi\n`;
}

function exitStatus(): string {
  const names = Object.keys(exitCodes) as (keyof typeof exitCodes)[];
  return `.SH EXIT STATUS\n${names.map((name) => `.TP\n${exitCodes[name]}\n${roff(exitCodeMeanings[name])}\n`).join("")}`;
}

function page({ name, section, summary, synopsis, body, seeAlso }: Page, version: string): string {
  const head = `.TH ${roff(name.toUpperCase())} ${section} "" "flannel ${roff(version)}" "flannel"\n`;
  const files =
    ".SH SEE ALSO\n" +
    `${roff(seeAlso.join(", "))}\n.PP\nThe documentation is in /usr/share/doc/flannel, or docs/ beside the programs.\n`;
  return `${head}.SH NAME\n${roff(name)} \\- ${roff(summary)}\n.SH SYNOPSIS\n${synopsis}\n${body}${files}`;
}
