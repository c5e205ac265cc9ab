// What the help of each command says below its options: examples, and exit codes of its own. Pure.
import { type Command, Help } from "commander";
import { type ExitCode, exitCodes } from "../../exit-codes.ts";

interface CommandNotes {
  /** Command lines that work as they stand, without `flannelctl`. */
  readonly examples: readonly string[];
  /** Where a code says more of this command than the table of all programs does. */
  readonly exits?: Readonly<Partial<Record<ExitCode, string>>>;
}

const { ok, failure, noAgent, unknown } = exitCodes;

/** By the words of the command. Every command without sub-commands has an entry. */
export const commandNotes: Readonly<Record<string, CommandNotes>> = {
  init: {
    examples: ["init", "init --address 192.0.2.1 --network 10.244.0.0/16"],
    exits: { [failure]: "failed, or the agent was not ready in time" },
  },
  join: {
    examples: ["join 192.0.2.1 --token -", "join 192.0.2.1:2379 --name web-3 --token -"],
    exits: { [failure]: "refused, or the agent was not ready in time" },
  },
  leave: { examples: ["leave"], exits: { [failure]: "refused, or something could not be removed" } },
  "token create": { examples: ["token create", "token create --ttl 30m"] },
  "token list": { examples: ["token list"] },
  "token revoke": { examples: ["token revoke k3x9q2ab"] },
  "host list": { examples: ["host list"] },
  "host remove": { examples: ["host remove web-3"] },
  status: {
    examples: ["status", "status --json"],
    exits: { [ok]: "ready", [failure]: "degraded or not ready", [noAgent]: "no agent" },
  },
  wait: {
    examples: ["wait --timeout 120"],
    exits: { [ok]: "ready or degraded", [failure]: "neither within the timeout" },
  },
  plan: { examples: ["plan"], exits: { [ok]: "shown, also where the kernel differs" } },
  rules: { examples: ["rules"], exits: { [ok]: "shown, also where the kernel differs" } },
  reload: {
    examples: ["reload"],
    exits: { [failure]: "something could not be read, and its previous value stays in use", [noAgent]: "no agent" },
  },
  handover: { examples: ["handover"] },
  cleanup: {
    examples: ["cleanup --dry-run", "cleanup --release --all"],
    exits: { [failure]: "an agent runs, or something could not be removed" },
  },
  doctor: {
    examples: ["doctor", "doctor --fix", "doctor --peer 192.0.2.7"],
    exits: {
      [ok]: "no finding",
      [failure]: "a finding",
      [noAgent]: "nothing of flannel here",
      [unknown]: "no finding, but a check could not be completed",
    },
  },
  bugreport: { examples: ["bugreport", "bugreport -o /tmp/report.tar.gz"] },
  dashboard: {
    examples: ["dashboard", "dashboard --listen 192.0.2.1:8475 --tls-cert cert.pem --tls-key key.pem"],
    exits: { [ok]: "ended with Ctrl-C" },
  },
  peers: { examples: ["peers", "peers --wide --sort loss"] },
  why: {
    examples: ["why 10.5.34.7", "why 10.5.34.0/24"],
    exits: { [failure]: "nothing of flannel belongs to it" },
  },
  history: { examples: ["history --since 10m", "history --about 10.5.34.0"] },
  events: { examples: ["events --follow", "events --since 1h --limit 50"] },
  watch: { examples: ["watch"], exits: { [ok]: "ended with Ctrl-C" } },
  "cni gc": { examples: ["cni gc --dry-run"] },
  ping: {
    examples: ["ping 192.0.2.7", "ping 10.5.34.7 --count 20 --size 1400"],
    exits: { [ok]: "all packets were answered", [failure]: "packets were lost" },
  },
  trace: {
    examples: ["trace 10.5.34.7", "trace 10.5.34.7 --static"],
    exits: {
      [ok]: "the packets arrive",
      [failure]: "they do not, or something is not as desired",
      [unknown]: "it could not be checked",
    },
  },
  "lease list": { examples: ["lease list", "lease list --json"] },
  "lease show": { examples: ["lease show 10.5.34.0/24"] },
  "lease reserve": { examples: ["lease reserve 10.5.34.0/24 --public-ip 192.0.2.7"] },
  "lease release": { examples: ["lease release 10.5.34.0/24"] },
  "config get": { examples: ["config get"] },
  "config set": { examples: ["config set network.json"] },
  "config check": {
    examples: ["config check", "config check network.json"],
    exits: { [ok]: "valid, all keys are known", [failure]: "an error, or an unknown key" },
  },
  "store export": { examples: ["store export"] },
  "store import": {
    examples: ["store import backup.json --dry-run", "store import --etcd-v2-endpoints http://192.0.2.1:2379"],
  },
  "store backup": { examples: ["store backup /var/backups/flannel.json"] },
  "wireguard rotate": {
    examples: ["wireguard rotate"],
    exits: { [failure]: "failed, or hosts have not followed yet" },
  },
  "wireguard export": {
    examples: ["wireguard export laptop"],
    exits: { [failure]: "failed, or a host had to be left out" },
  },
  version: { examples: ["version"] },
  completion: { examples: ["completion bash"] },
};

/** `lease list`; empty for the program itself. */
export function wordsOf(command: Command): string {
  const { parent } = command;
  return parent === null ? "" : `${wordsOf(parent)} ${command.name()}`.trim();
}

/** Examples and exit codes, each paragraph after an empty line; empty for a command that only has others below it. */
export function notesText(command: Command): string {
  const notes = commandNotes[wordsOf(command)];
  if (notes === undefined) return "";
  const examples = notes.examples.map((line) => `\n  flannelctl ${line}`).join("");
  const exits = Object.entries(notes.exits ?? {}).map(([code, meaning]) => `${code} ${meaning}`);
  const own = exits.length === 0 ? "" : `\n\nExit codes: ${exits.join("; ")}.`;
  return `\nExample${notes.examples.length > 1 ? "s" : ""}:${examples}${own}`;
}

/** What is true of every command, where its own help is read alone. */
const ELSEWHERE = "\nflannelctl --help: options of every command, such as --json, and the other exit codes.";

/** Gives each command below this one its notes. */
export function addNotes(program: Command): void {
  for (const command of program.commands) {
    command.addHelpText("after", () => `${notesText(command)}\n${ELSEWHERE}`.replace(/^\n(?=\n)/, ""));
    addNotes(command);
  }
}

const plainHelp = new Help();

/** That a switch is off where it is not given goes without saying. */
export const helpConfiguration = {
  optionDescription: (option: Parameters<Help["optionDescription"]>[0]) =>
    option.defaultValue === false ? option.description : plainHelp.optionDescription(option),
};
