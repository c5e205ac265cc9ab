// The scripts are run by the real shells. zsh and fish are skipped where they are not installed; `npm test` installs them.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { flannelctl, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";

const directory = new TemporaryDirectory();
const env = { PATH: process.env["PATH"], HOME: directory.path, TERM: "dumb", LC_ALL: "C.UTF-8" };

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { cwd: directory.path, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function isInstalled(program: string): boolean {
  try {
    run(program, ["-c", ":"]);
    return true;
  } catch {
    return false;
  }
}

const bash = `
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_flannelctl
printf '%s\\n' "\${COMPREPLY[@]}"
`;

/** What an interactive zsh would offer: every match that it adds is printed, between two marks. */
const zshCapture = `
autoload -Uz compinit && compinit -u -C -d ~/zcompdump
bindkey '^I' complete-word
mark() { print -r -- ::mark:: }
compprefuncs=(mark)
comppostfuncs=(mark exit)
zstyle ':completion:*' insert-tab false
compadd() {
  if [[ \${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then
    builtin compadd "$@"
    return
  fi
  local -a added
  builtin compadd -A added "$@"
  (( $#added )) && print -rl -- $added
  builtin compadd "$@"
}
`;
const zsh = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; source $2; source $1; print ready"
repeat 200 { zpty -r z line; [[ $line == ready* ]] && break }
zpty -n -w z "$3"$'\\t'
while zpty -r z line; do print -r -- "$line"; done
`;

const shells = {
  bash: (words: readonly string[]) => run("bash", ["--norc", "-c", bash, "bash", directory.file("bash"), ...words]),
  zsh: (words: readonly string[]) => {
    const output = run("zsh", [
      "-f",
      "-c",
      zsh,
      "zsh",
      directory.file("zsh"),
      directory.file("capture"),
      words.join(" "),
    ]);
    return output.replaceAll("\r", "").split("::mark::\n")[1] ?? expect.fail(`zsh completed nothing: ${output}`);
  },
  fish: (words: readonly string[]) => {
    const command = `source ${directory.file("fish")}; complete -C "${words.join(" ")}"`;
    return run("fish", ["--no-config", "-c", command]);
  },
};
type Shell = keyof typeof shells;

/** What is offered for the last word, sorted, without descriptions. */
function offered(shell: Shell, ...words: readonly string[]): string[] {
  const lines = shells[shell](["flannelctl", ...words]).split("\n");
  const first = lines.map((line) => line.split("\t")[0]?.trim() ?? "").filter((word) => word !== "");
  return [...new Set(first)].sort();
}

beforeAll(async () => {
  for (const shell of Object.keys(shells)) {
    const { exitCode, stdout } = await flannelctl(["completion", shell]);
    expect(exitCode).toBe(0);
    writeFileSync(directory.file(shell), stdout);
  }
  writeFileSync(directory.file("capture"), zshCapture);
  mkdirSync(directory.file("net"));
  writeFileSync(directory.file("net/a config.json"), "");
});
afterAll(() => directory[Symbol.dispose]());

it("refuses a shell that it does not know, and names those that it does", async () => {
  const { exitCode, stderr } = await flannelctl(["completion", "tcsh"]);
  expect(exitCode).toBe(2);
  expect(stderr).toContain("bash, zsh, fish");
});

it("prints one JSON document with --json", async () => {
  const { stdout } = await flannelctl(["completion", "fish", "--json"]);
  expect(JSON.parse(stdout)).toEqual({
    version: 1,
    shell: "fish",
    script: expect.stringContaining("complete -c flannelctl"),
  });
});

describe.each(Object.keys(shells) as Shell[])("%s", (shell) => {
  const complete = (...words: string[]) => offered(shell, ...words);

  it.skipIf(!isInstalled(shell))("completes commands and sub-commands, also behind options of the program", () => {
    expect(complete("st")).toEqual(expect.arrayContaining(["status", "store"]));
    expect(complete("lease", "")).toEqual(["list", "release", "reserve", "show"]);
    expect(complete("--json", "--socket", "lease", "config", "")).toEqual(["check", "get", "set"]);
    expect(complete("store", "ba")).toEqual(["backup"]);
  });

  it.skipIf(!isInstalled(shell))("completes the options of a command together with those of the program", () => {
    const options = complete("cleanup", "--");
    expect(options).toEqual(expect.arrayContaining(["--all", "--dry-run", "--release", "--json", "--etcd-endpoints"]));
    expect(options).not.toContain("--force");
    expect(complete("lease", "release", "--fo")).toEqual(["--force"]);
    expect(complete("leave", "--no-s")).toEqual(["--no-systemd"]);
  });

  it.skipIf(!isInstalled(shell))("completes values: closed sets, files, directories, nothing for free text", () => {
    expect(complete("completion", "")).toEqual(["bash", "fish", "zsh"]);
    expect(complete("completion", "bash", "")).toEqual([]);
    expect(complete("wait", "--timeout", "")).toEqual([]);
    expect(complete("config", "set", "net/").join()).toMatch(/a\\? config\.json/);
    expect(complete("--socket", "net/").join()).toMatch(/a\\? config\.json/);
    expect(complete("--root", "n").join()).toMatch(/net/);
    // Readline makes "=" a word of its own.
    const attached = shell === "bash" ? ["--socket", "=", "net/"] : ["--socket=net/"];
    expect(complete(...attached).join()).toMatch(/a\\? config\.json/);
    expect(complete("lease", "show", "")).toEqual([]);
  });
});

it("knows every command and every option in all three", async () => {
  const { stdout: help } = await flannelctl(["--help"]);
  const commands = [...help.matchAll(/^ {2}([a-z]+)(?: |$)/gm)].map(([, name]) => name ?? "");
  expect(commands).toEqual(expect.arrayContaining(["init", "status", "lease", "version", "completion"]));
  expect(offered("bash", "").sort()).toEqual(commands.sort());
});
