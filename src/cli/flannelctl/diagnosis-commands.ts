// The commands that look for what is wrong.
import { type Command, InvalidArgumentError } from "commander";
import type { BugreportOptions } from "./commands/bugreport.ts";
import type { DoctorOptions } from "./commands/doctor.ts";
import type { DashboardOptions } from "./dashboard/listen-plan.ts";
import type { Run } from "./verb.ts";

export function addDiagnosisVerbs(program: Command, run: Run): void {
  program
    .command("doctor")
    .description(
      "look for what keeps packets from flowing, most likely cause first, with its remedy; needs no running agent; read-only but " +
        "for --fix and --undo; " +
        "exit 0 no finding, 1 a finding, 3 nothing of flannel here, 4 something could not be checked",
    )
    .option("--timeout <seconds>", "time limit of each check; raise it on a slow host (default: 2.4)", parseSeconds)
    .option("--fix", "run the remedies that are safe, each after a question; logged, and undone by --undo")
    .option("--yes", "with --fix: ask nothing")
    .option(
      "--peer <host>",
      "look at both ends: another host, by public address, lease, subnet, an address in it, or its name in a cluster made by flannelctl init, " +
        "where its own doctor is asked; elsewhere from here alone",
    )
    .option("--undo", "undo what the last --fix changed")
    .option("--with-peers", "with --json: add what this host sees of each other one")
    .action(async (options: DoctorOptions, command: Command) =>
      run(command, (await import("./commands/doctor.ts")).runDoctor, [options]),
    );
  program
    .command("bugreport")
    .description(
      "write one .tar.gz for who is to help: findings of doctor, status, plan, rules, routes, logs; " +
        "without secrets, mode 0600, 5 MB at most; needs no running agent",
    )
    .option("-o, --output <file>", "where to; default: flannel-bugreport-HOST-TIME.tar.gz in the current directory")
    .action(async (options: BugreportOptions, command: Command) =>
      run(command, (await import("./commands/bugreport.ts")).makeBugreport, [options]),
    );
  program
    .command("dashboard")
    .description(
      "serve a read-only page for a browser, until Ctrl-C: peers, address space, topology, plan, journal, findings; " +
        "prints a link that works once",
    )
    .option("--listen <host:port>", "address to listen on; other addresses than loopback need TLS", "127.0.0.1:8475")
    .option("--tls-cert <file>", "certificate chain of the page, PEM")
    .option("--tls-key <file>", "key of the certificate, PEM")
    .action(async (options: DashboardOptions, command: Command) =>
      run(command, (await import("./commands/dashboard.ts")).serveDashboard, [options]),
    );
}

function parseSeconds(text: string): number {
  const seconds = /^\d{1,3}(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(seconds >= 0.5 && seconds <= 300)) throw new InvalidArgumentError("give seconds from 0.5 to 300.");
  return seconds;
}
