// Runs what ends a finding, for `flannelctl doctor --fix`, and undoes it for `--undo`: one step after the other, each asked for
// unless `--yes` is given, each logged first with what undoes it.
import { type FixStep, stepText } from "../../../doctor/fix-step.ts";
import { describeError, FlannelError } from "../../../errors.ts";
import { findTool, runTool } from "../../../sys/run-tool.ts";
import { readSysctl, writeSysctl } from "../../../sys/sysctl.ts";
import { printable } from "../../../terminal/foreign-text.ts";
import type { FixOutput } from "../session/doctor-output.ts";
import type { Invocation } from "../session/invocation.ts";
import { FixLog, type LoggedFix, type UndoStep } from "./fix-log.ts";

/** A step that is offered, and the finding that it ends. */
export interface FixOffer {
  readonly code: string;
  readonly evidence: string;
  readonly step: FixStep;
}

/**
 * Throws `USAGE` for others than root, and where nobody can be asked; `FILE_FAILED` before anything is run when it cannot be
 * logged. A step that fails is reported, and the others are offered.
 */
export async function applyFixes(
  invocation: Invocation,
  offers: readonly FixOffer[],
  { stateDirectory, isAgreed }: { readonly stateDirectory: string; readonly isAgreed: boolean },
): Promise<FixOutput[]> {
  requireRoot();
  if (offers.length === 0) return [];
  const log = FixLog.open(stateDirectory);
  const run = new Date(invocation.terminal.nowMs()).toISOString();
  const outcomes: FixOutput[] = [];
  for (const offer of offers) {
    const command = stepText(offer.step);
    if (!isAgreed && !(await isWanted(invocation, offer, command))) {
      outcomes.push({ code: offer.code, command, result: "declined" });
      continue;
    }
    outcomes.push(await applyOne(invocation, log, { ...offer, command, run }));
  }
  return outcomes;
}

async function isWanted({ terminal }: Invocation, { code, evidence }: FixOffer, command: string): Promise<boolean> {
  const question = `${code}: ${evidence}\nRun ${command}? [y/N] `;
  const answer = await terminal.askLine?.(printableLines(question));
  if (answer === undefined) {
    throw new FlannelError("USAGE", "doctor --fix asks before each step, and standard input is no terminal: add --yes");
  }
  return /^y(es)?$/i.test(answer.trim());
}

function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

async function applyOne(
  { terminal }: Invocation,
  log: FixLog,
  { code, evidence, step, command, run }: FixOffer & { readonly command: string; readonly run: string },
): Promise<FixOutput> {
  const undo = undoOf(step);
  const by = terminal.env["SUDO_USER"];
  const entry: LoggedFix = {
    ...{ run, at: new Date(terminal.nowMs()).toISOString(), code, evidence, command, state: "begun" },
    ...(undo !== undefined && { undo }),
    ...(by !== undefined && { by }),
  };
  await log.add(entry);
  try {
    await runStep(step);
  } catch (error) {
    const reason = describeError(error);
    await log.settle(entry, "failed", reason);
    return { code, command, result: "failed", reason };
  }
  await log.settle(entry, "done");
  return { code, command, result: "done", ...(undo !== undefined && { undo: undoText(undo) }) };
}

/** The last `--fix` that is not undone yet, its last step first. A step that fails is not tried again. Throws as `applyFixes`. */
export async function undoFixes(stateDirectory: string): Promise<FixOutput[]> {
  requireRoot();
  const log = FixLog.open(stateDirectory);
  const undone: FixOutput[] = [];
  for (const entry of log.undoable) {
    const { undo, code } = entry;
    if (undo === undefined) continue;
    const command = undoText(undo);
    try {
      await runStep(undo);
      await log.settle(entry, "undone");
      undone.push({ code, command, result: "done" });
    } catch (error) {
      const reason = describeError(error);
      await log.settle(entry, "undo-failed", reason);
      undone.push({ code, command, result: "failed", reason });
    }
  }
  return undone;
}

function requireRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new FlannelError("USAGE", "doctor --fix and --undo change this host: run them as root");
}

/** As the host is now; undefined where nothing has to be undone. */
function undoOf(step: FixStep): UndoStep | undefined {
  if (step.kind === "run") {
    if (step.undo === undefined) return undefined;
    const [program, ...words] = step.undo;
    return { kind: "run", command: [program, ...words] };
  }
  const value = readSysctl(step.key);
  return value === undefined ? undefined : { kind: "sysctl", key: step.key, value };
}

function undoText(step: UndoStep): string {
  return stepText(step.kind === "run" ? { ...step, undo: undefined } : step);
}

/** Throws what the kernel or the program says. */
async function runStep(step: FixStep | UndoStep): Promise<void> {
  if (step.kind === "sysctl") {
    writeSysctl(step.key, step.value);
    if (readSysctl(step.key) === undefined) {
      throw new FlannelError("KERNEL_UNSUPPORTED", `this kernel has no setting ${step.key} here`);
    }
    return;
  }
  const [program, ...words] = step.command;
  const path = findTool(program);
  if (path === undefined) throw new FlannelError("TOOL_MISSING", `this host has no program ${program}`);
  await runTool(path, words);
}
