// Completion for bash (4 or later). It finds the command in the words before the cursor, then offers what may follow; it
// needs no other package, such as bash-completion.
import { allCommands, type CommandNode, optionsTaking, type ValueKind } from "./command-tree.ts";

export function bashScript(program: CommandNode): string {
  const { name } = program;
  const commands = allCommands(program);
  return `# bash completion for ${name}; made by: ${name} completion bash
_${name}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path= want= position=0 i word words=
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $want ]]; then
      # "=" is a word of its own.
      [[ $word == "=" ]] || want=
      continue
    fi
    case $path:$word in
      ${patterns(optionsTaking(program, "file", "directory", "text", "words"))}) want=$path:$word ;;
      *:-*) ;;
${commands.flatMap(({ path, commands: below }) => below.map((one) => `      ${quoted(`${path}:${one.name}`)}) path=${quoted(one.path)} ;;`)).join("\n")}
      *) position=$((position + 1)) ;;
    esac
  done
  if [[ -n $want ]]; then
    [[ $cur == "=" ]] && cur=
    case $want in
${arms(patterns(optionsTaking(program, "file")), "_NAME_paths -f")}${arms(patterns(optionsTaking(program, "directory")), "_NAME_paths -d")}    esac
    return
  fi
  if [[ $cur == -* ]]; then
    words=${quoted(optionNames(program))}
    case $path in
${commands
  .filter(({ path, options }) => path !== "" && options.length > 0)
  .map((one) => `      ${quoted(one.path)}) words="$words ${optionNames(one)}" ;;`)
  .join("\n")}
    esac
  else
    case $path:$position in
${commands.flatMap(argumentArms).join("\n")}
    esac
  fi
  [[ -n $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
_NAME_paths() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}
complete -F _NAME ${name}
`.replaceAll("_NAME", `_${name}`);
}

function optionNames({ options }: CommandNode): string {
  return options.flatMap(({ names }) => names).join(" ");
}

/** Patterns of a case: a star stays one, the rest is quoted. */
function patterns(entries: readonly string[]): string {
  return entries.map((entry) => (entry.startsWith("*") ? entry : quoted(entry))).join(" | ");
}

function arms(pattern: string, action: string): string {
  return pattern === "" ? "" : `      ${pattern}) ${action} ;;\n`;
}

function argumentArms({ path, commands, arguments: values }: CommandNode): string[] {
  if (commands.length > 0)
    return [`      ${quoted(`${path}:0`)}) words=${quoted(commands.map((one) => one.name).join(" "))} ;;`];
  return values.flatMap((value, position) => {
    const action = actionFor(value);
    return action === undefined ? [] : [`      ${quoted(`${path}:${position}`)}) ${action} ;;`];
  });
}

function actionFor(value: ValueKind): string | undefined {
  if (value.type === "words") return `words=${quoted(value.words.join(" "))}`;
  if (value.type === "text") return undefined;
  return `_NAME_paths ${value.type === "file" ? "-f" : "-d"}`;
}

function quoted(text: string): string {
  return `"${text}"`;
}
