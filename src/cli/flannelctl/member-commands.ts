// The commands about the members of a cluster: tokens to join with, hosts.
import { type Command, Option } from "commander";
import { parseLife } from "./duration-argument.ts";
import type { Run } from "./verb.ts";

export function addMemberVerbs(program: Command, run: Run): void {
  const token = program.command("token").description("the join tokens of the cluster; run on the store's host");
  token
    .command("create")
    .description("create a token for one host, and print the command that joins with it")
    .addOption(
      new Option("--ttl <time>", "lifetime of the token, like 30m or 7d").argParser(parseLife).default(86_400, "24h"),
    )
    .action(async (options: { ttl: number }, command: Command) =>
      run(command, (await import("./commands/token.ts")).createToken, [options.ttl]),
    );
  token
    .command("list")
    .description("list all tokens without their secrets; expired and revoked ones stay listed for a week")
    .action(async (_, command: Command) => run(command, (await import("./commands/token.ts")).listTokens, []));
  token
    .command("revoke")
    .description("revoke a token: no host can join with it; hosts that joined with it stay members")
    .argument("<token>", "id of the token: its first eight characters")
    .action(async (id: string, _, command: Command) =>
      run(command, (await import("./commands/token.ts")).revokeToken, [id]),
    );
  const host = program.command("host").description("the hosts of the cluster; run on the store's host");
  host
    .command("list")
    .description("list all hosts, where they connect from, and when their certificates expire")
    .action(async (_, command: Command) => run(command, (await import("./commands/host.ts")).listHosts, []));
  host
    .command("remove")
    .description("remove a host for good: revoke its certificates, close its connections, delete its leases")
    .argument("<name>", "name of the host, as in flannelctl host list")
    .action(async (name: string, _, command: Command) =>
      run(command, (await import("./commands/host.ts")).removeHost, [name]),
    );
}
