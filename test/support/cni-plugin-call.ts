// Calls a CNI plugin `flannel` as a runtime does, with a delegate that writes down what it gets, and gives all that can be seen
// of it: for comparing plugins.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface PluginCall {
  readonly command: string;
  /** A text, or what becomes one. */
  readonly input: unknown;
  /** Added to, or instead of, what a runtime sets. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What every runtime sets, for the interface of a container that does not exist. */
export function pluginEnvironment(command: string, pluginDirectory: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env["PATH"],
    CNI_COMMAND: command,
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/none",
    CNI_IFNAME: "eth0",
    CNI_PATH: pluginDirectory,
  };
}

export interface DelegateCall {
  readonly name: string;
  readonly input: string;
  /** Without what a shell sets for itself. */
  readonly env: readonly string[];
  readonly umask: string;
}

export interface PluginAnswer {
  readonly exitCode: number | null;
  /** Parsed where it is JSON. */
  readonly output: unknown;
  readonly delegates: readonly DelegateCall[];
  /** Names, modes and bytes below the data directory, which is the first. */
  readonly scratch: readonly string[];
}

const setByShells = /^(PWD|OLDPWD|SHLVL|_)=/;

export class PluginWorld {
  readonly directory: string;
  readonly #answer: string;

  /** `directory`: an empty one. */
  constructor(directory: string) {
    this.directory = directory;
    this.#answer = join(directory, "answer");
    mkdirSync(join(directory, "bin"));
    for (const name of ["bridge", "ptp"]) this.#addDelegate(name);
    this.answer("");
  }

  get subnetFile(): string {
    return join(this.directory, "subnet.env");
  }

  get dataDirectory(): string {
    return join(this.directory, "data");
  }

  /** Of each delegate from now on: its result at ADD, or its error. */
  answer(output: string, exitCode = 0): void {
    writeFileSync(this.#answer, output);
    writeFileSync(`${this.#answer}.code`, `${exitCode}\n`);
  }

  call(plugin: readonly string[], { command, input, env = {} }: PluginCall): PluginAnswer {
    const calls = join(this.directory, "calls");
    rmSync(calls, { recursive: true, force: true });
    mkdirSync(calls);
    const [program = "", ...args] = plugin;
    const { status, stdout } = spawnSync(program, args, {
      input: typeof input === "string" ? input : JSON.stringify(input),
      encoding: "utf8",
      env: {
        ...pluginEnvironment(command, join(this.directory, "bin")),
        CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAME=a b",
        LC_ALL: "POSIX",
        ...env,
      },
    });
    return { exitCode: status, output: parsed(stdout), delegates: delegateCalls(calls), scratch: this.#scratch() };
  }

  /** All that calls have left. */
  clear(): void {
    rmSync(this.dataDirectory, { recursive: true, force: true });
  }

  #addDelegate(name: string): void {
    const file = join(this.directory, "bin", name);
    const script = `#!/bin/sh
d=$(dirname "$0")/.. n=$(ls "$(dirname "$0")/../calls" | wc -l)
umask >"$d/calls/$n.umask"; echo ${name} >"$d/calls/$n.name"
cat /proc/$$/environ >"$d/calls/$n.env"; cat >"$d/calls/$n.input"
read -r code <"$d/answer.code"
[ $CNI_COMMAND != ADD ] && [ "$code" = 0 ] || cat "$d/answer"
exit "$code"
`;
    writeFileSync(file, script);
    chmodSync(file, 0o755);
  }

  #scratch(): string[] {
    const directory = this.dataDirectory;
    if (!existsSync(directory)) return [];
    const described = (path: string) => (statSync(path).mode & 0o777).toString(8);
    const files = readdirSync(directory).sort();
    return [
      described(directory),
      ...files.map((name) => {
        const path = join(directory, name);
        return `${name} ${described(path)} ${readFileSync(path, "utf8")}`;
      }),
    ];
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function delegateCalls(directory: string): DelegateCall[] {
  const names = readdirSync(directory).filter((name) => name.endsWith(".name"));
  return names.sort().map((file) => {
    const read = (suffix: string) => readFileSync(join(directory, file.replace(/name$/, suffix)), "utf8");
    const env = read("env").split("\0");
    return {
      name: read("name").trim(),
      input: read("input"),
      env: env.filter((each) => each !== "" && !setByShells.test(each)).sort(),
      umask: read("umask").trim(),
    };
  });
}
