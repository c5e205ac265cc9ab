// The commands about flannelctl itself: its version, completion in shells.
import { Argument, type Command } from "commander";
import type { ShellName } from "./commands/completion.ts";
import type { Run } from "./verb.ts";

export function addSelfVerbs(program: Command, version: string, run: Run): void {
  program
    .command("version")
    .description("versions of flannelctl, of Node and of the agent on this host, if one answers")
    .action(async (_, command: Command) =>
      run(command, (await import("./commands/version.ts")).showVersion, [version]),
    );
  program
    .command("completion")
    .description("print a script that completes flannelctl's commands and options in a shell")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish"] satisfies ShellName[]))
    .action(async (shell: ShellName, _, command: Command) =>
      run(command, (await import("./commands/completion.ts")).printCompletion, [shell, program]),
    )
    .addHelpText("after", completionHelp);
}

const completionHelp = `
For this shell alone:
  bash, zsh:  source <(flannelctl completion bash)     or zsh
  fish:       flannelctl completion fish | source
For every shell of this host:
  bash:       flannelctl completion bash >/etc/bash_completion.d/flannelctl   (package bash-completion)
  zsh:        flannelctl completion zsh >/usr/local/share/zsh/site-functions/_flannelctl
  fish:       flannelctl completion fish >/etc/fish/completions/flannelctl.fish`;
