// `flannelctl doctor`: what is wrong with flannel on this host, most likely cause first, and what ends it. Read-only.
import { causeOf } from "../../../doctor/causes.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { diagnose } from "../doctor/diagnose.ts";
import { type DoctorFinding, type DoctorOutput, doctorOutputSchema } from "../session/doctor-output.ts";
import { type Invocation, present } from "../session/invocation.ts";

export interface DoctorOptions {
  /** Seconds for each thing that is looked at. */
  readonly timeout?: number;
}

/** 0 nothing found, 1 a finding, 4 nothing found but something unknown, 3 nothing of flannel here to look at. */
export async function runDoctor(invocation: Invocation, { timeout }: DoctorOptions): Promise<ExitCode> {
  const { output, isFlannelHere } = await diagnose(invocation, timeout === undefined ? undefined : timeout * 1_000);
  const code = exitCodeOf(output, isFlannelHere);
  present(invocation, doctorOutputSchema, output, (value, paint) => renderDoctor(value, paint, code));
  return code;
}

function exitCodeOf({ findings, unknown }: DoctorOutput, isFlannelHere: boolean): ExitCode {
  if (findings.length > 0) return exitCodes.failure;
  if (!isFlannelHere) return exitCodes.noAgent;
  return unknown.length > 0 ? exitCodes.unknown : exitCodes.ok;
}

const NAME_WIDTH = 24;
const MAX_SHOWN = 20;
const INDENT = "       ";

export function renderDoctor(output: DoctorOutput, paint: Paint, code: ExitCode): string[] {
  const { host, subnets, backendType, mtuBytes, checked, findings, unknown } = output;
  const bad = new Set(findings.map((finding) => finding.code)).size;
  const counts = `${count(checked, "check")}: ${checked - bad - unknown.length} fine${unknown.length === 0 ? "" : `, ${unknown.length} unknown`}`;
  const what = [host, subnets.join(" "), backendType ?? "", mtuBytes === undefined ? "" : `MTU ${mtuBytes}`].filter(
    (part) => part !== "",
  );
  const shown = findings.slice(0, MAX_SHOWN);
  const errors = findings.filter(({ severity }) => severity === "error").length;
  const totals = [
    count(errors, "error"),
    count(findings.length - errors, "warning"),
    ...(unknown.length === 0 ? [] : [`${unknown.length} unknown`]),
  ].join(", ");
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
    `${totals}.  exit ${code}`,
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
