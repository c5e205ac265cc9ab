// The commands, options and arguments of a commander program as plain data, for the writers of completion scripts.
import type { Argument, Command, Option } from "commander";

/** What an option or an argument takes. */
export type ValueKind =
  | { readonly type: "file" | "directory" | "text" }
  | { readonly type: "words"; readonly words: readonly string[] };

export interface OptionNode {
  /** `--force`; `-h` and `--help`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined for a switch. */
  readonly value: ValueKind | undefined;
}

export interface CommandNode {
  /** Words after the program's name: `lease list`; empty for the program itself. */
  readonly path: string;
  /** The last word of the path. */
  readonly name: string;
  readonly description: string;
  readonly commands: readonly CommandNode[];
  /** Its own, without those of the program, which are recognised behind every command. */
  readonly options: readonly OptionNode[];
  readonly arguments: readonly ValueKind[];
}

/** Of a program or one of its commands. */
export function describeCommand(command: Command, parentPath = ""): CommandNode {
  const isProgram = command.parent === null;
  const path = isProgram ? "" : `${parentPath} ${command.name()}`.trim();
  const help = command.createHelp();
  return {
    path,
    name: command.name(),
    description: command.description(),
    commands: command.commands.map((below) => describeCommand(below, path)),
    // Every command has the program's help option.
    options: help
      .visibleOptions(command)
      .filter((option) => isProgram || option.long !== "--help")
      .map(describeOption),
    arguments: command.registeredArguments.map(describeArgument),
  };
}

/** A command and all below it. */
export function allCommands(node: CommandNode): readonly CommandNode[] {
  return [node, ...node.commands.flatMap(allCommands)];
}

/** Options with a value of this kind, as `PATH:NAME`; those of the program as `*:NAME`, for they stand anywhere. */
export function optionsTaking(program: CommandNode, ...types: readonly ValueKind["type"][]): readonly string[] {
  return allCommands(program).flatMap(({ path, options }) =>
    options
      .filter(({ value }) => value !== undefined && types.includes(value.type))
      .flatMap(({ names }) => names.map((name) => `${path === "" ? "*" : path}:${name}`)),
  );
}

function describeOption(option: Option): OptionNode {
  const names = [option.short, option.long].filter((name) => name !== undefined && name !== null);
  const takesValue = option.required || option.optional;
  const placeholder = /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? "";
  return { names, description: option.description, value: takesValue ? valueKind(placeholder, option) : undefined };
}

function describeArgument(argument: Argument): ValueKind {
  return valueKind(argument.name(), argument);
}

/** The placeholder of the help tells what a value is. */
function valueKind(placeholder: string, { argChoices }: Pick<Option | Argument, "argChoices">): ValueKind {
  if (argChoices !== undefined) return { type: "words", words: argChoices };
  if (placeholder === "path" || placeholder === "file") return { type: "file" };
  return { type: placeholder === "dir" ? "directory" : "text" };
}
