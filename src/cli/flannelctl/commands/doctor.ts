// `flannelctl doctor`: what is wrong with flannel on this host, most likely cause first, and what ends it. Read-only but for
// `--fix` and `--undo`.
import { causeOf } from "../../../doctor/causes.ts";
import { describeError, FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { type Diagnosis, diagnose } from "../doctor/diagnose.ts";
import { knowHost, knowNetworks } from "../doctor/known-host.ts";
import { type DoctorFinding, type DoctorOutput, doctorOutputSchema, type FixOutput } from "../session/doctor-output.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { pingPeers } from "./ping.ts";

export interface DoctorOptions {
  /** Seconds for each thing that is looked at. */
  readonly timeout?: number;
  /** Runs what is safe to run, then looks again. */
  readonly fix?: boolean;
  /** Nobody is asked before. */
  readonly yes?: boolean;
  /** Undoes the last `fix`. */
  readonly undo?: boolean;
  /** Another host, whose end is looked at as well. */
  readonly peer?: string;
  /** Adds what this host sees of each other one. */
  readonly withPeers?: boolean;
}

/** 0 nothing found, 1 a finding, 4 nothing found but something unknown, 3 nothing of flannel here to look at. */
export async function runDoctor(invocation: Invocation, options: DoctorOptions): Promise<ExitCode> {
  checkOptions(options, invocation);
  const { peer, withPeers } = options;
  const [{ output: ofHost, isFlannelHere }, ofPeer, view] = await Promise.all([
    look(invocation, options),
    peer === undefined ? undefined : lookAtPeer(invocation, peer),
    withPeers === true ? lookAtView(invocation) : undefined,
  ]);
  const output = {
    ...ofHost,
    ...(ofPeer !== undefined && { peer: ofPeer }),
    ...(view !== undefined && { view }),
  };
  const code = exitCodeOf(output, isFlannelHere);
  present(invocation, doctorOutputSchema, output, (value, paint) => renderDoctor(value, paint, code));
  return code;
}

function checkOptions({ fix, yes, undo, peer, withPeers }: DoctorOptions, { options: { json } }: Invocation): void {
  const usage = (message: string) => new FlannelError("USAGE", message);
  if (undo === true && fix === true) throw usage("--fix and --undo are opposites: give one of them");
  if (peer !== undefined && (fix === true || undo === true))
    throw usage("--peer only looks: leave out --fix and --undo");
  if (withPeers === true && !json) throw usage("--with-peers belongs to --json: flannelctl peers is for reading");
  if (yes === true && fix !== true) throw usage("--yes belongs to --fix");
  if (json && fix === true && yes !== true) throw usage("--fix with --json asks nobody: add --yes");
}

/** Undefined where the agent does not answer, which the report says. */
async function lookAtView(invocation: Invocation): Promise<NonNullable<DoctorOutput["view"]> | undefined> {
  const { viewOfPeers } = await import("../doctor/peer-view.ts");
  return await viewOfPeers(invocation).catch(() => undefined);
}

/** Its own report, and echoes from here. */
async function lookAtPeer(invocation: Invocation, target: string): Promise<NonNullable<DoctorOutput["peer"]>> {
  const { reportOfPeer } = await import("../doctor/peer-report.ts");
  const networks = await knowNetworks(invocation.options, invocation.signal);
  const peers = networks.flatMap((network) => network.peers);
  const found = await reportOfPeer(invocation, target, peers);
  // A name of the cluster is no address.
  const address = found.publicIp ?? found.report?.subnets[0]?.replace(/\/.*/, "") ?? target;
  return { ...found, ...(await echoesTo(invocation, address)) };
}

async function echoesTo(
  invocation: Invocation,
  target: string,
): Promise<Pick<NonNullable<DoctorOutput["peer"]>, "legs" | "verdict">> {
  try {
    const [found] = await pingPeers(invocation, target, { count: PEER_ECHOES });
    if (found === undefined) return {};
    const legs = found.legs.map(({ name, sent, answered }) => ({ name, sent, answered }));
    return { legs, verdict: found.verdict };
  } catch (error) {
    return { verdict: `no echoes were sent from here: ${describeError(error)}` };
  }
}

async function look(invocation: Invocation, { timeout, fix, undo, yes, peer }: DoctorOptions): Promise<Diagnosis> {
  const limitMs = timeout === undefined ? undefined : timeout * 1_000;
  if (undo === true) return await undoAndLook(invocation, limitMs);
  const found = await diagnose(invocation, limitMs, peer);
  if (fix !== true) return found;
  const { fixes: offers, stateDirectory } = found;
  const { applyFixes } = await import("../doctor/apply-fixes.ts");
  const fixes = await applyFixes(invocation, offers, { stateDirectory, isAgreed: yes === true });
  const isChanged = fixes.some(({ result }) => result === "done");
  const now = isChanged ? await diagnose(invocation, limitMs) : found;
  return { ...now, output: { ...now.output, fixes, fixLog: await fixLogOf(stateDirectory) } };
}

async function undoAndLook(invocation: Invocation, limitMs: number | undefined): Promise<Diagnosis> {
  const { undoFixes } = await import("../doctor/apply-fixes.ts");
  const { stateDirectory } = await knowHost(invocation.options, invocation.signal);
  const undone = await undoFixes(stateDirectory);
  const now = await diagnose(invocation, limitMs);
  return { ...now, output: { ...now.output, undone, fixLog: await fixLogOf(stateDirectory) } };
}

async function fixLogOf(stateDirectory: string): Promise<string> {
  return (await import("../doctor/fix-log.ts")).fixLogIn(stateDirectory);
}

function renderStep({ code, command, result, reason }: FixOutput, paint: Paint): string {
  const label = result === "done" ? paint.good("done") : result === "failed" ? paint.bad("failed") : "not run";
  return `  ${label}  ${command}  (${code})${reason === undefined ? "" : `: ${reason}`}`;
}

/** What was done, and how it is undone; or that there was nothing to do. */
function renderFixes({ fixes, undone, fixLog = "", findings }: DoctorOutput, paint: Paint): string[] {
  if (undone !== undefined) {
    if (undone.length === 0) {
      return [
        `there is nothing to undo: by ${fixLog} no --fix changed this host since the last --undo`,
        "  for an agent that ran with another state directory, name that: --state-dir",
        "",
      ];
    }
    return ["undone:", ...undone.map((step) => renderStep(step, paint)), ""];
  }
  if (fixes === undefined) {
    const offered = findings.reduce((sum, { remedy }) => sum + remedy.fix.length, 0);
    return offered === 0
      ? []
      : [`flannelctl doctor --fix would run ${count(offered, "command")}, each after a question`];
  }
  if (fixes.length === 0) return ["--fix changed nothing: no finding has a remedy that is safe to run", ""];
  const isUndoable = fixes.some(({ undo, result }) => result === "done" && undo !== undefined);
  const isSetting = fixes.some(({ command, result }) => result === "done" && command.startsWith("sysctl "));
  return [
    ...fixes.map((step) => renderStep(step, paint)),
    ...(isUndoable ? [`  flannelctl doctor --undo undoes it, by ${fixLog}`] : []),
    ...(isSetting ? ["  settings last until the next boot: to keep them, write them into /etc/sysctl.d"] : []),
    "",
  ];
}

function exitCodeOf({ findings, unknown, peer, fixes = [], undone = [] }: DoctorOutput, isHere: boolean): ExitCode {
  const hasFailed = [...fixes, ...undone].some(({ result }) => result === "failed");
  if (hasFailed || findings.length > 0 || (peer?.report?.findings.length ?? 0) > 0) return exitCodes.failure;
  if (!isHere) return exitCodes.noAgent;
  const isPeerUnknown = peer?.reason !== undefined || (peer?.report?.unknown.length ?? 0) > 0;
  return unknown.length > 0 || isPeerUnknown ? exitCodes.unknown : exitCodes.ok;
}

const PEER_ECHOES = 3;
const NAME_WIDTH = 24;
const MAX_SHOWN = 20;
const INDENT = "       ";

export function renderDoctor(output: DoctorOutput, paint: Paint, code: ExitCode): string[] {
  const { findings, unknown } = output;
  const errors = findings.filter(({ severity }) => severity === "error").length;
  const totals = [
    count(errors, "error"),
    count(findings.length - errors, "warning"),
    ...(unknown.length === 0 ? [] : [`${unknown.length} unknown`]),
  ].join(", ");
  const hasChanged = output.fixes !== undefined || output.undone !== undefined;
  return [
    ...(hasChanged ? renderFixes(output, paint) : []),
    ...renderReport(output, paint),
    `${totals}.  exit ${code}`,
    ...(hasChanged ? [] : renderFixes(output, paint)),
    ...(output.peer === undefined ? [] : renderPeer(output.peer, paint)),
  ];
}

/** What was found on one host. */
function renderReport(output: DoctorOutput, paint: Paint): string[] {
  const { host, subnets, backendType, mtuBytes, checked, findings, suppressed, unknown } = output;
  const bad = new Set([...findings, ...suppressed].map((finding) => finding.code)).size;
  const counts = `${count(checked, "check")}: ${checked - bad - unknown.length} fine${unknown.length === 0 ? "" : `, ${unknown.length} unknown`}`;
  const what = [host, subnets.join(" "), backendType ?? "", mtuBytes === undefined ? "" : `MTU ${mtuBytes}`].filter(
    (part) => part !== "",
  );
  const shown = findings.slice(0, MAX_SHOWN);
  return [
    `  ${paint.bold(what.join("  "))}    ${counts}`,
    ...(output.agentProblem === undefined ? [] : [`  ${paint.warn("no agent answers")}: ${output.agentProblem}`]),
    "",
    ...shown.flatMap((finding) => renderFinding(finding, paint)),
    ...(findings.length > shown.length
      ? [`${INDENT}and ${findings.length - shown.length} more: --json lists them`]
      : []),
    ...unknown.map((each) => `?      ${each.code.padEnd(NAME_WIDTH)} not checked: ${each.reason}`),
    ...(shown.length + unknown.length > 0 ? [""] : []),
  ];
}

function renderPeer(peer: NonNullable<DoctorOutput["peer"]>, paint: Paint): string[] {
  const { host, publicIp, lease, reason, report, legs = [], verdict } = peer;
  const where = [publicIp, lease].filter((part) => part !== undefined && part !== host).join(", ");
  const echoes = legs.map(({ name, sent, answered }) => `${name} ${answered} of ${sent}`).join(", ");
  return [
    "",
    paint.bold(`  peer ${host}${where === "" ? "" : ` (${where})`}`),
    ...(echoes === "" ? [] : [`${INDENT}from here, echoes answered: ${echoes}`]),
    ...(verdict === undefined ? [] : [`${INDENT}${verdict}`]),
    ...(reason === undefined ? [] : [`${INDENT}${reason}`]),
    ...(report === undefined ? [] : ["", ...renderReport(report, paint)]),
  ];
}

function renderFinding(finding: DoctorFinding, paint: Paint): string[] {
  const { code, severity, summary, evidence, remedy, explains } = finding;
  const label = severity === "error" ? paint.bad("ERROR") : `${paint.warn("WARN")} `;
  const meaning = causeOf(code)?.meaning;
  const line = (name: string, text: string) => `${INDENT}${name.padEnd(8)}${text}`;
  return [
    `${label}  ${code.padEnd(NAME_WIDTH)} ${summary}`,
    ...evidence.map(({ value }, at) => line(at === 0 ? "seen" : "", value)),
    ...(meaning === undefined ? [] : [line("means", meaning)]),
    ...[remedy.command, ...remedy.others].map((command, at) => line(at === 0 ? "remedy" : "", command)),
    ...(explains.length === 0 ? [] : [line("also", `explains ${explains.join(", ")}`)]),
  ];
}
