// The commands of the wireguard backend.
import type { Command } from "commander";
import type { ExportOptions } from "./commands/wireguard-export.ts";
import type { Run } from "./verb.ts";

export function addWireguardVerbs(program: Command, run: Run): void {
  const wireguard = program.command("wireguard").description("keys and static peers of the backend wireguard");
  wireguard
    .command("rotate")
    .description("give this host a new key while it forwards packets")
    .option("--force", "rotate even while peers are missing that could not follow", false)
    .action(async (options: { force: boolean }, command: Command) =>
      run(command, (await import("./commands/wireguard-rotate.ts")).rotateKey, [options]),
    );
  wireguard
    .command("export")
    .description("print the configuration of a static peer for wg-quick, with every host; never with a secret")
    .argument("<name>", "name of the peer in Backend.Peers of the network configuration")
    .option("--ipv6", "name the hosts by their public IPv6 addresses", false)
    .action(async (name: string, options: ExportOptions, command: Command) =>
      run(command, (await import("./commands/wireguard-export.ts")).exportPeer, [name, options]),
    );
}
