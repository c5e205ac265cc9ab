// The verbs about probes of peers.
import { type Command, InvalidArgumentError } from "commander";
import type { Run } from "./verb.ts";

export function addProbeVerbs(program: Command, run: Run): void {
  program
    .command("ping")
    .description(
      "ask a peer outside of the tunnel, through it, at its bridge and its container, and say which layer loses packets",
    )
    .argument("<peer>", "its public address, its subnet or lease, or the address of a container")
    .option("--count <number>", "how many packets for each", (text) => wholeNumber(text, 1, 1_000), 5)
    .option("--size <bytes>", "size of the whole IP packets, which are not fragmented", (text) =>
      wholeNumber(text, 84, 16_000),
    )
    .action(async (peer: string, options: { count: number; size?: number }, command: Command) =>
      run(command, (await import("./commands/ping.ts")).pingPeer, [peer, options]),
    );
}

function wholeNumber(text: string, least: number, most: number): number {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (number < least || number > most) throw new InvalidArgumentError(`give a number from ${least} to ${most}.`);
  return number;
}
