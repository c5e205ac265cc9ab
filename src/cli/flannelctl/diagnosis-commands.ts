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
      "look for what keeps packets from flowing, most likely cause first, with its remedy; needs no running agent; " +
        "changes nothing without --fix or --undo",
    )
    .option(
      "--timeout <seconds>",
      "time limit of each check, 0.5 to 300; raise it on a slow host (default: 2.4, less where the agent hangs)",
      parseSeconds,
    )
    .option("--fix", "run the remedies that are safe, each after a question; logged, and undone by --undo")
    .option("--yes", "with --fix: ask nothing")
    .option(
      "--peer <host>",
      "look at both ends of the path to this host, named by public address, lease, subnet, an address in it, or its name in a cluster " +
        "made by flannelctl init; in such a cluster the doctor of that host is asked, otherwise only this host looks",
    )
    .option("--undo", "undo what the last --fix changed")
    .option("--with-peers", "with --json: add what this host sees of each peer")
    .action(async (options: DoctorOptions, command: Command) =>
      run(command, (await import("./commands/doctor.ts")).runDoctor, [options]),
    );
  program
    .command("bugreport")
    .description(
      "write one .tar.gz for the person who helps: findings of doctor, status, plan, rules, routes, logs; " +
        "without secrets, mode 0600, 5 MB at most; needs no running agent",
    )
    .option(
      "-o, --output <file>",
      "file to write (default: flannel-bugreport-HOST-TIME.tar.gz in the current directory)",
    )
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
