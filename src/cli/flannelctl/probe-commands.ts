// The verbs about probes of peers.
import { type Command, InvalidArgumentError } from "commander";
import type { TraceFlags } from "./commands/trace.ts";
import type { Run } from "./verb.ts";

export function addProbeVerbs(program: Command, run: Run): void {
  program
    .command("ping")
    .description(
      "probe a peer outside the tunnel, through it, at its bridge and at a container, and show which layer loses packets",
    )
    .argument("<peer>", "its public address, its subnet or lease, or the address of a container")
    .option("--count <number>", "packets for each layer, 1 to 1000", (text) => wholeNumber(text, 1, 1_000), 5)
    .option(
      "--size <bytes>",
      "size of the whole IP packets, 84 to 16000, not fragmented (default: 84, with IPv6 104)",
      (text) => wholeNumber(text, 84, 16_000),
    )
    .action(async (peer: string, options: { count: number; size?: number }, command: Command) =>
      run(command, (await import("./commands/ping.ts")).pingPeer, [peer, options]),
    );
  program
    .command("trace")
    .description(
      "follow packets to an address: lease, route, next hop, device, rules and underlay in the kernel, beside the desired state; then " +
        "send a few marked packets and show where they get lost",
    )
    .argument("<address>", "IP address of a container, a bridge, or a host of the network")
    .option("--static", "send no packets", false)
    .option(
      "--as-container",
      "send the packets from a temporary interface in the bridge of this host's containers, so that they meet the same rules as packets of containers (IPv4)",
      false,
    )
    .action(async (address: string, options: TraceFlags, command: Command) =>
      run(command, (await import("./commands/trace.ts")).tracePackets, [address, options]),
    );
}

function wholeNumber(text: string, least: number, most: number): number {
  const number = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (number < least || number > most) throw new InvalidArgumentError(`give a number from ${least} to ${most}.`);
  return number;
}
