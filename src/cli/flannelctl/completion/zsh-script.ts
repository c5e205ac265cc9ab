// Completion for zsh, with descriptions. It finds the command in the words before the cursor, then offers what may follow.
import { allCommands, type CommandNode, type OptionNode, optionsTaking, type ValueKind } from "./command-tree.ts";

export function zshScript(program: CommandNode): string {
  const { name } = program;
  const commands = allCommands(program);
  return `#compdef ${name}
# zsh completion for ${name}; made by: ${name} completion zsh
_${name}() {
  local at= want= position=0 word i
  local -a entries
  for ((i = 2; i < CURRENT; i++)); do
    word=\${words[i]}
    if [[ -n $want ]]; then
      want=
      continue
    fi
    case $at:$word in
      (${patterns(optionsTaking(program, "file", "directory", "text", "words"))}) want=$at:$word ;;
      (*:-*) ;;
${commands.flatMap(({ path, commands: below }) => below.map((one) => `      (${quoted(`${path}:${one.name}`)}) at=${quoted(one.path)} ;;`)).join("\n")}
      (*) ((position++)) ;;
    esac
  done
  word=\${words[CURRENT]}
  if [[ -z $want && $word == --*=* ]]; then
    want=$at:\${word%%=*}
    compset -P '*='
  fi
  if [[ -n $want ]]; then
    case $want in
${arm(patterns(optionsTaking(program, "file")), "_files")}${arm(patterns(optionsTaking(program, "directory")), "_files -/")}      (*) _message value ;;
    esac
    return
  fi
  if [[ $word == -* ]]; then
    entries=(
${optionEntries(program.options)}
    )
    case $at in
${commands
  .filter(({ path, options }) => path !== "" && options.length > 0)
  .map((one) => `      (${quoted(one.path)})\n        entries+=(\n${optionEntries(one.options)}\n        ) ;;`)
  .join("\n")}
    esac
    _describe -o option entries
    return
  fi
  case $at:$position in
${commands.flatMap(argumentArms).join("\n")}
    (*) _message "nothing more" ;;
  esac
}
# Loaded by "source", or as a file on fpath, where zsh calls it.
if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

function argumentArms({ path, commands, arguments: values }: CommandNode): string[] {
  if (commands.length > 0) {
    const entries = commands.map((one) => `        ${entry(one.name, one.description)}`).join("\n");
    return [`    (${quoted(`${path}:0`)})\n      entries=(\n${entries}\n      )\n      _describe command entries ;;`];
  }
  return values.flatMap((value, position) => {
    const action = actionFor(value);
    return action === undefined ? [] : [`    (${quoted(`${path}:${position}`)}) ${action} ;;`];
  });
}

function actionFor(value: ValueKind): string | undefined {
  if (value.type === "words") return `compadd -- ${value.words.join(" ")}`;
  if (value.type === "text") return undefined;
  return value.type === "file" ? "_files" : "_files -/";
}

function optionEntries(options: readonly OptionNode[]): string {
  return options
    .flatMap(({ names, description }) => names.map((name) => `      ${entry(name, description)}`))
    .join("\n");
}

/** `name:description`, quoted. */
function entry(name: string, description: string): string {
  return `'${`${name.replaceAll(":", "\\:")}:${description}`.replaceAll("'", "'\\''")}'`;
}

function patterns(entries: readonly string[]): string {
  return entries.map((one) => (one.startsWith("*") ? one : quoted(one))).join("|");
}

function arm(pattern: string, action: string): string {
  return pattern === "" ? "" : `      (${pattern}) ${action} ;;\n`;
}

function quoted(text: string): string {
  return `"${text}"`;
}
