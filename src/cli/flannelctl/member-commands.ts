// The commands about the members of a cluster: tokens to join with, hosts.
import { type Command, Option } from "commander";
import { parseLife } from "./duration-argument.ts";
import type { Run } from "./verb.ts";

export function addMemberVerbs(program: Command, run: Run): void {
  const token = program.command("token").description("tokens that hosts join the cluster with; on the store's host");
  token
    .command("create")
    .description("make a token for one further host, and print the command to join with it")
    .addOption(new Option("--ttl <time>", "how long it is good: 30m, 7d").argParser(parseLife).default(86_400, "24h"))
    .action(async (options: { ttl: number }, command: Command) =>
      run(command, (await import("./commands/token.ts")).createToken, [options.ttl]),
    );
  token
    .command("list")
    .description("all tokens, without their secrets; ended ones for a week")
    .action(async (_, command: Command) => run(command, (await import("./commands/token.ts")).listTokens, []));
  token
    .command("revoke")
    .description("nobody can join with this token any more; who has joined with it stays")
    .argument("<token>", "its id, the eight characters in front")
    .action(async (id: string, _, command: Command) =>
      run(command, (await import("./commands/token.ts")).revokeToken, [id]),
    );
  const host = program.command("host").description("the hosts of the cluster; on the store's host");
  host
    .command("list")
    .description("all hosts, where they call from, when their certificates end")
    .action(async (_, command: Command) => run(command, (await import("./commands/host.ts")).listHosts, []));
  host
    .command("remove")
    .description("cut a host off for good: its certificates, its connections, its leases")
    .argument("<name>", "as flannelctl host list shows it")
    .action(async (name: string, _, command: Command) =>
      run(command, (await import("./commands/host.ts")).removeHost, [name]),
    );
}
