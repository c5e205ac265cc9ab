// The commands that ask the agent what it did, why, and how it fares with its peers.
import { type Command, InvalidArgumentError, Option } from "commander";
import type { EventsOptions, HistoryOptions } from "./commands/history.ts";
import type { PeersOptions } from "./commands/peers.ts";
import type { WatchOptions } from "./commands/watch.ts";
import { parseLife } from "./duration-argument.ts";
import type { Run } from "./verb.ts";

const orders = ["state", "name", "rtt", "loss", "mtu", "bytes", "changed"];

export function addJournalVerbs(program: Command, run: Run): void {
  program
    .command("peers")
    .description("list the other hosts: state, round trip, loss, MTU, bytes, last change; - for what is not known")
    .option("--wide", "also show subnets, backend, revision, endpoint, handshake and reason", false)
    .addOption(
      new Option("--sort <column>", "order of the lines").choices(orders).default("state", "state, worst first"),
    )
    .action(async (options: PeersOptions, command: Command) =>
      run(command, (await import("./commands/peers.ts")).showPeers, [options]),
    );
  program
    .command("why")
    .description(
      "show the lease behind an address, a subnet or a kernel object, the objects made for it, and its history",
    )
    .argument("<object>", "IP address, subnet, key of a lease, or part of a line of flannelctl plan")
    .action(async (of: string, _, command: Command) => run(command, (await import("./commands/why.ts")).showWhy, [of]));
  addEntryOptions(
    program
      .command("history")
      .description("show what changed on this host, why, and which program changed it, if known")
      .option("--limit <number>", "how many of the last entries", parseCount, 100),
  ).action(async (options: HistoryOptions, command: Command) =>
    run(command, (await import("./commands/history.ts")).showHistory, [options]),
  );
  addEntryOptions(
    program
      .command("events")
      .description(
        "print the agent's last events and changes, and with --follow new ones; with --json one JSON document per line",
      )
      .option("--follow", "go on until interrupted", false)
      .option("--limit <number>", "how many of the last entries", parseCount, 10),
  ).action(async (options: EventsOptions, command: Command) =>
    run(command, (await import("./commands/history.ts")).showEvents, [options]),
  );
  program
    .command("watch")
    .description("show state, peers and events on one screen until Ctrl-C; with --json one document")
    .option("--interval <seconds>", "time between two updates, 0.2 to 3600", parseInterval, 2)
    .action(async (options: WatchOptions, command: Command) =>
      run(command, (await import("./commands/watch.ts")).watch, [options]),
    );
}

function addEntryOptions(command: Command): Command {
  return command
    .option("--since <time>", "only entries younger than this, like 90s, 10m or 2h", parseLife)
    .option("--about <text>", "only entries that contain this text");
}

function parseCount(text: string): number {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (number < 0) throw new InvalidArgumentError("give a number from 0 to 999999.");
  return number;
}

function parseInterval(text: string): number {
  const seconds = /^\d{1,4}(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (seconds < 0.2 || seconds > 3_600) throw new InvalidArgumentError("give seconds from 0.2 to 3600.");
  return seconds;
}
