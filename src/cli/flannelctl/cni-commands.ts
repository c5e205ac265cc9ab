// The commands about what CNI keeps of this host's containers.
import type { Command } from "commander";
import type { CniGcOptions } from "./commands/cni-gc.ts";
import type { Run } from "./verb.ts";

export function addCniVerbs(program: Command, run: Run): void {
  const cni = program.command("cni").description("addresses that CNI plugins hold for containers of this host");
  cni
    .command("gc")
    .description("free the addresses of containers that the container runtime does not know any more")
    .option("--dry-run", "only say what would be freed", false)
    .option(
      "--runtime-endpoint <socket>",
      "socket of the container runtime (default: those of containerd, CRI-O, … that exist)",
    )
    .option("--cni-conf-file <file>", "CNI configuration of the network", "/etc/cni/net.d/10-flannel.conflist")
    .action(async (options: CniGcOptions, command: Command) =>
      run(command, (await import("./commands/cni-gc.ts")).collectGarbage, [options]),
    );
}
