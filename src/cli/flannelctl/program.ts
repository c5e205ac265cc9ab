// The verbs, their arguments and help, as commander commands. What they do is loaded when one is chosen.
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { FlannelError, hasCode } from "../../errors.ts";
import { type ExitCode, exitCodeOfError, exitCodes } from "../../exit-codes.ts";
import { addCniVerbs } from "./cni-commands.ts";
import { addNotes, helpConfiguration } from "./command-notes.ts";
import type { ImportOptions } from "./commands/import-store.ts";
import type { InitOptions } from "./commands/init-plan.ts";
import type { JoinOptions } from "./commands/join.ts";
import type { LeaveOptions } from "./commands/leave.ts";
import { addDiagnosisVerbs } from "./diagnosis-commands.ts";
import { parseLife } from "./duration-argument.ts";
import { addJournalVerbs } from "./journal-commands.ts";
import { addMemberVerbs } from "./member-commands.ts";
import { addProbeVerbs } from "./probe-commands.ts";
import { addSelfVerbs } from "./self-commands.ts";
import { globalOptions, resolveGlobalOptions } from "./session/global-options.ts";
import type { Terminal } from "./session/invocation.ts";
import { reportError } from "./session/report-error.ts";
import type { Run } from "./verb.ts";
import { addWireguardVerbs } from "./wireguard-commands.ts";

/** Runs one command line (without node and script) to its exit code. Never rejects; prints every error itself. */
export async function runFlannelctl(
  argv: readonly string[],
  terminal: Terminal,
  signal: AbortSignal,
  version: string,
): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.ok;
  const program = buildProgram(terminal, version, (command, verb, args) => {
    const options = resolveGlobalOptions(optionsOfFlannelctl(command), terminal.env);
    return verb({ options, terminal, signal }, ...args).then((code) => {
      exitCode = code;
    });
  });
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    return exitCodeOf(error, terminal, argv.includes("--json"));
  }
}

/** `init` has a `--network` of its own, which is no name; commander gives it to the command or to flannelctl, by its place. */
function optionsOfFlannelctl(command: Command): Readonly<Record<string, unknown>> {
  const { network, ...others } = command.optsWithGlobals<Readonly<Record<string, unknown>>>();
  return command.name() === "init" ? others : { ...others, ...(network !== undefined && { network }) };
}

function exitCodeOf(error: unknown, terminal: Terminal, json: boolean): ExitCode {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    reportError(terminal, json, wrongUse(reasonOf(error)));
    return exitCodes.usage;
  }
  const code = exitCodeOfError(error);
  if (code === exitCodes.interrupted) return code;
  reportError(terminal, json, hasCode(error, "USAGE") ? wrongUse(error.message) : error);
  return code;
}

function wrongUse(reason: string): FlannelError {
  return new FlannelError("USAGE", `${reason} (flannelctl --help lists commands and options)`);
}

/** commander's own text, on one line and without its prefix. */
function reasonOf(error: CommanderError): string {
  if (error.code === "commander.help") return "a command is missing";
  return error.message.replace(/^error: /, "").replaceAll("\n", " ");
}

const exitCodeHelp = `\nExit codes: ${exitCodes.ok} done; ${exitCodes.failure} failed, not ready or something found; \
${exitCodes.usage} wrong use or configuration; ${exitCodes.noAgent} no agent; ${exitCodes.unknown} no finding, but a check could not be completed; \
${exitCodes.interrupted} interrupted.`;

/** The whole command tree; `scripts/generate-flannelctl-docs.ts` reads its help. */
export function buildProgram(terminal: Pick<Terminal, "writeOut">, version: string, run: Run): Command {
  const program = new Command("flannelctl");
  program
    .description("Manages flannel: the agent on this host, and the leases and the configuration in the store.")
    .version(version, "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand(false)
    .configureHelp(helpConfiguration)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.writeOut(text),
      writeErr: () => undefined,
      outputError: () => undefined,
    })
    .addHelpText("after", exitCodeHelp);
  for (const option of globalOptions()) program.addOption(option);
  addClusterVerbs(program, run);
  addMemberVerbs(program, run);
  addAgentVerbs(program, run);
  addDiagnosisVerbs(program, run);
  addJournalVerbs(program, run);
  addCniVerbs(program, run);
  addProbeVerbs(program, run);
  addLeaseVerbs(program, run);
  addConfigVerbs(program, run);
  addStoreVerbs(program, run);
  addWireguardVerbs(program, run);
  addSelfVerbs(program, version, run);
  addNotes(program);
  return program;
}

function addClusterVerbs(program: Command, run: Run): void {
  program
    .command("init")
    .description("make this host the first member of a cluster without etcd, and start flannel; other hosts then join")
    .addOption(
      new Option("--address <ip>", "address under which other hosts reach this host; repeatable")
        .argParser(collect)
        .default([], "that of the default route"),
    )
    .option("--port <number>", "port of the store (default: 2379)", parsePort)
    .option("--name <host>", "name of this host in the cluster (default: its host name)")
    .option("--network <cidr>", "network of the containers (default: 10.5.0.0/16, backend vxlan)")
    .option("--config <file>", "JSON file with the whole network configuration instead")
    .addOption(
      new Option("--token-ttl <time>", "lifetime of the first join token, like 30m or 7d")
        .argParser(parseLife)
        .default(86_400, "24h"),
    )
    .option("--no-systemd", "make no systemd units; print the commands to run")
    .action(async (options: InitOptions, command: Command) => {
      const { network } = command.optsWithGlobals<InitOptions>();
      await run(command, (await import("./commands/init.ts")).initCluster, [
        { ...options, ...(network !== undefined && { network }) },
      ]);
    });
  program
    .command("join")
    .description("make this host a member of a cluster, and start flannel")
    .argument("<address>", "address of the store: 10.0.0.1 or 10.0.0.1:2379")
    .option("--token <token>", "token from flannelctl token create; - for standard input [env: FLANNEL_JOIN_TOKEN]")
    .option("--name <host>", "name of this host in the cluster (default: its host name)")
    .option("--no-systemd", "make no systemd unit; print the command to run")
    .action(async (address: string, options: JoinOptions, command: Command) =>
      run(command, (await import("./commands/join.ts")).join, [address, options]),
    );
  program
    .command("leave")
    .description("remove this host from its cluster, with its lease, devices, certificate and files")
    .option("--force", "leave even if the store cannot be reached", false)
    .option("--no-systemd", "stop no systemd unit; flanneld must be stopped already")
    .action(async (options: LeaveOptions, command: Command) =>
      run(command, (await import("./commands/leave.ts")).leave, [options]),
    );
}

function addAgentVerbs(program: Command, run: Run): void {
  program
    .command("status")
    .description("show state, lease, peers and repairs of the agent on this host")
    .action(async (_, command: Command) => run(command, (await import("./commands/status.ts")).showStatus, []));
  program
    .command("wait")
    .description("wait until the agent is ready or degraded")
    .option("--timeout <seconds>", "how long to wait", parseSeconds, 60)
    .action(async (options: { timeout: number }, command: Command) =>
      run(command, (await import("./commands/wait.ts")).waitUntilReady, [options.timeout]),
    );
  program
    .command("plan")
    .description(
      "show the desired kernel objects of this host (routes, neighbours, FDB entries), and where the kernel differs",
    )
    .action(async (_, command: Command) => run(command, (await import("./commands/plan.ts")).showPlan, []));
  program
    .command("rules")
    .description("show the desired traffic rules (iptables or nftables), and where the kernel differs")
    .action(async (_, command: Command) => run(command, (await import("./commands/rules.ts")).showRules, []));
  program
    .command("reload")
    .description(
      "have the agent read log level, certificates and configuration again, and look at a cloud's route tables",
    )
    .action(async (_, command: Command) => run(command, (await import("./commands/reload.ts")).reloadAgent, []));
  program
    .command("handover")
    .description("prepare routes and devices so that upstream's flanneld can take this host over")
    .action(async (_, command: Command) => run(command, (await import("./commands/handover.ts")).handOver, []));
  program
    .command("cleanup")
    .description("remove everything of flannel from this host; refused while an agent runs")
    .option("--dry-run", "only print what would be removed", false)
    .option("--release", "also delete this host's lease from the store", false)
    .option("--all", "also remove the subnet file and the state directory", false)
    .action(async (options: { dryRun: boolean; release: boolean; all: boolean }, command: Command) =>
      run(command, (await import("./commands/cleanup.ts")).cleanUp, [options]),
    );
}

function addLeaseVerbs(program: Command, run: Run): void {
  const lease = program.command("lease").description("the leases in the store");
  lease
    .command("list")
    .description("list all leases")
    .action(async (_, command: Command) => run(command, (await import("./commands/lease.ts")).listLeases, []));
  lease
    .command("show")
    .description("show one lease with everything it announces")
    .argument("<lease>", "key or subnet: 10.5.34.0-24, 10.5.34.0/24")
    .action(async (key: string, _, command: Command) =>
      run(command, (await import("./commands/lease.ts")).showLease, [key]),
    );
  lease
    .command("reserve")
    .description(
      "reserve a subnet for one host, so that it never expires; its active lease of that subnet only loses the expiry",
    )
    .argument("<subnet>", "10.5.34.0/24; with two families 10.5.34.0/24,fd00::/64")
    .option("--public-ip <address>", "public IPv4 address of the host")
    .option("--public-ipv6 <address>", "public IPv6 address of the host")
    .action(async (subnet: string, options: { publicIp?: string; publicIpv6?: string }, command: Command) =>
      run(command, (await import("./commands/lease.ts")).reserveLease, [subnet, options]),
    );
  lease
    .command("release")
    .description("turn a reservation into a lease that expires after 24 h, or delete it if its host never used it")
    .argument("<lease>", "key or subnet")
    .option("--force", "delete the lease even if its host is running", false)
    .action(async (key: string, options: { force: boolean }, command: Command) =>
      run(command, (await import("./commands/lease.ts")).releaseLease, [key, options]),
    );
}

function addConfigVerbs(program: Command, run: Run): void {
  const config = program.command("config").description("the network configuration in the store");
  config
    .command("get")
    .description(
      "print the stored configuration, without secrets (config set puts them back); control characters as JSON writes them",
    )
    .option("--show-secrets", "print secrets such as a pre-shared key, too", false)
    .action(async (options: { showSecrets: boolean }, command: Command) =>
      run(command, (await import("./commands/config.ts")).getConfig, [options]),
    );
  config
    .command("set")
    .description("check a configuration and store it; refused if another program changed it in the meantime")
    .argument("<file>", "JSON file, or - for standard input")
    .option("--force", "change Network even while leases exist", false)
    .action(async (file: string, options: { force: boolean }, command: Command) =>
      run(command, (await import("./commands/config.ts")).setConfig, [file, options]),
    );
  config
    .command("check")
    .description("check a configuration; unknown keys are errors, too")
    .argument("[file]", "JSON file, or - for standard input; without it the stored configuration is checked")
    .action(async (file: string | undefined, _, command: Command) =>
      run(command, (await import("./commands/config.ts")).checkConfig, [file]),
    );
}

function addStoreVerbs(program: Command, run: Run): void {
  const store = program.command("store").description("export, import and back up all keys below --etcd-prefix");
  store
    .command("export")
    .description("print a snapshot of all keys, values and leases, taken at one moment")
    .action(async (_, command: Command) => run(command, (await import("./commands/store.ts")).exportStore, []));
  store
    .command("import")
    .description(
      "write an export, or a network out of etcd's v2 API, into the store; refused if a key exists with another value",
    )
    .argument("[file]", "an export, or - for standard input; none with --etcd-v2-endpoints")
    .option("--keep-leases", "where store and export have different leases for a subnet, keep the store's", false)
    .option("--dry-run", "print what would be written, and write nothing", false)
    .option("--etcd-v2-endpoints <list>", "read the network of flannel up to v0.7 from this etcd, by its v2 API")
    .option("--etcd-v2-prefix <path>", "prefix of the network there (default: that of --etcd-prefix)")
    .option("--etcd-v2-cafile <file>", "CA certificate of that etcd")
    .option("--etcd-v2-certfile <file>", "client certificate for that etcd")
    .option("--etcd-v2-keyfile <file>", "key of the client certificate")
    .option("--etcd-v2-username <name>", "user for that etcd")
    .option("--etcd-v2-password-file <file>", "file that holds the password of that user")
    .action(async (file: string | undefined, given: ImportOptions, command: Command) =>
      run(command, (await import("./commands/import-store.ts")).importStore, [file, given]),
    );
  store
    .command("backup")
    .description("write an export to a file: completely or not at all, synced to disk, mode 0600")
    .argument("<file>", "the file; an existing file is replaced")
    .action(async (file: string, _, command: Command) =>
      run(command, (await import("./commands/store.ts")).backUpStore, [file]),
    );
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw new InvalidArgumentError("give a port from 1 to 65535.");
  return port;
}

function parseSeconds(text: string): number {
  const seconds = /^\d{1,7}(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(seconds)) throw new InvalidArgumentError("give a number of seconds.");
  return seconds;
}
