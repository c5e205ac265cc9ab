// Completion for fish, with descriptions: one `complete` line for each command, option and argument, under the condition
// that the words before the cursor have led to its command.
import { allCommands, type CommandNode, type OptionNode, optionsTaking, type ValueKind } from "./command-tree.ts";

export function fishScript(program: CommandNode): string {
  const { name } = program;
  const commands = allCommands(program);
  const takers = optionsTaking(program, "file", "directory", "text", "words").map(quoted).join(" ");
  return `# fish completion for ${name}; made by: ${name} completion fish
function __${name}_at --description 'whether the words before the cursor lead to a command, and how many arguments follow'
    set -l at ''
    set -l position 0
    set -l skips 0
    for word in (commandline -opc)[2..-1]
        if test $skips = 1
            set skips 0
            continue
        end
        switch "$at:$word"
            case ${takers}
                set skips 1
            case '*:-*'
${commands.flatMap(({ path, commands: below }) => below.map((one) => `            case ${quoted(`${path}:${one.name}`)}\n                set at ${quoted(one.path)}`)).join("\n")}
            case '*'
                set position (math $position + 1)
        end
    end
    test "$at" = "$argv[1]"; and test (count $argv) = 1 -o $position = "$argv[2]"
end
complete -c ${name} -e
complete -c ${name} -f
${commands.flatMap((one) => linesOf(name, one)).join("\n")}
`;
}

function linesOf(program: string, command: CommandNode): string[] {
  const { path, commands, options, arguments: values } = command;
  const at = (position?: number) =>
    `-n ${quoted(`__${program}_at '${path}'${position === undefined ? "" : ` ${position}`}`)}`;
  return [
    ...options.map((option) => `complete -c ${program} ${path === "" ? "" : `${at()} `}${optionWords(option)}`),
    ...commands.map((one) => `complete -c ${program} ${at(0)} -a ${quoted(one.name)} -d ${quoted(one.description)}`),
    ...values.flatMap((value, position) => {
      const words = valueWords(value);
      return words === "" ? [] : [`complete -c ${program} ${at(position)} ${words}`];
    }),
  ];
}

function optionWords({ names, description, value }: OptionNode): string {
  const spelled = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const kind = value === undefined ? "" : ` -r ${valueWords(value) || "-f"}`;
  return `${spelled.join(" ")}${kind} -d ${quoted(description)}`;
}

/** Empty for free text: nothing is offered. */
function valueWords(value: ValueKind): string {
  if (value.type === "words") return `-f -a ${quoted(value.words.join(" "))}`;
  if (value.type === "text") return "";
  return value.type === "file" ? "-F" : "-f -a '(__fish_complete_directories)'";
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\$]/g, "\\$&")}"`;
}
