// The commands that look for what is wrong.
import type { Command } from "commander";
import type { Run } from "./verb.ts";

export function addDiagnosisVerbs(program: Command, run: Run): void {
  program
    .command("doctor")
    .description(
      "look for what keeps packets from flowing, most likely cause first, with its remedy; read-only, with the agent and without; " +
        "exit 0 nothing found, 1 a finding, 3 nothing of flannel here, 4 something could not be looked at",
    )
    .action(async (_, command: Command) => run(command, (await import("./commands/doctor.ts")).runDoctor, []));
}
