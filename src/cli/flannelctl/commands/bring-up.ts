// What `init` and `join` do alike: their host's name and, at the end, its processes, started by systemd or named to whoever starts
// them.
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Status } from "../../../agent/control/control-protocol.ts";
import { FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { hostNameRule, isValidHostName } from "../../../flannel-store/membership/names.ts";
import { printable } from "../../../terminal/foreign-text.ts";
import type { Paint } from "../../../terminal/text.ts";
import { commandLine, type HostServices, hostProcesses, writeUnits } from "../../install/services.ts";
import { enableAndBegin, enableAndStart, isSystemdRunning, reloadUnits } from "../../install/systemd.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, remark } from "../session/invocation.ts";
import type { BroughtUp } from "../session/json-output.ts";
import { statusRequest } from "./status.ts";

const READY_WITHIN_MS = 60_000;
const POLL_MS = 200;
/** What is over sooner is not worth a word. */
const TELL_AFTER_MS = 3_000;

/** A line about what is done, on standard error while the work goes on. */
export function reportStep(invocation: Invocation, text: string): void {
  if (!invocation.options.json) invocation.terminal.writeErr(`  ✓ ${printable(text)}\n`);
}

/** The same about what may take a while. */
export function reportProgress(invocation: Invocation, text: string): void {
  if (!invocation.options.json) invocation.terminal.writeErr(`  … ${printable(text)}\n`);
}

/** Whether units are to be made. Says so when they are wanted and there is no systemd. */
export function usesSystemd(invocation: Invocation, { systemd }: { readonly systemd: boolean }): boolean {
  if (!systemd) return false;
  if (isSystemdRunning()) return true;
  remark(invocation, "systemd does not run on this host: flannelctl makes no units, as with --no-systemd");
  return false;
}

/** Throws `USAGE` unless root asks, where only root can do what is asked. */
export function requireRoot({ options }: Invocation, systemd: boolean, verb: string): void {
  if (process.getuid?.() === 0) return;
  if (options.paths.root !== "" && !systemd) return;
  const what = systemd ? "it makes systemd units" : `it writes ${options.paths.etcDirectory}`;
  throw new FlannelError("USAGE", `flannelctl ${verb} must be run as root: ${what}`);
}

/** The name of this host in the cluster: as given, else as the host has it. Throws `USAGE` for what is no such name. */
export function chooseHostName(given: string | undefined): string {
  const name = given ?? hostname().toLowerCase();
  if (isValidHostName(name)) return name;
  throw new FlannelError("USAGE", `invalid host name ${JSON.stringify(name)}: give a --name of ${hostNameRule}`);
}

export async function bringUp(invocation: Invocation, services: HostServices, systemd: boolean): Promise<BroughtUp> {
  const processes = hostProcesses(services).map(({ name, argv, env }) => ({ name, argv: [...argv], env: { ...env } }));
  if (!systemd) return { units: [], processes, reasons: [], findings: [] };
  const { signal } = invocation;
  const { root, unitDirectory } = services.paths;
  const names = await writeUnits(services);
  const units = names.map((name) => join(unitDirectory, name));
  reportStep(invocation, `units ${names.join(" and ")} in ${unitDirectory}`);
  await reloadUnits(signal);
  for (const name of names) {
    // systemd does not know other directories than its own.
    const unit = root === "" ? name : join(unitDirectory, name);
    if (name === "flanneld.service") await enableAndBegin(unit, signal);
    else await enableAndStart(unit, signal);
    reportStep(invocation, `${name} ${name === "flanneld.service" ? "starts" : "is up"}, and starts at every boot`);
  }
  return { units, processes, ...(await untilReady(invocation)) };
}

const notStarted = { name: "starting", state: "notReady", message: "it has not started yet" } as const;

function joined(reasons: BroughtUp["reasons"]): string {
  return reasons.map(({ message }) => message).join("; ");
}

/** Forwarding that is off comes on only when a person, or another program, turns it on: the findings say how. */
function isForPerson(reasons: BroughtUp["reasons"]): boolean {
  const obstacles = reasons.filter(({ state }) => state === "notReady");
  return obstacles.length > 0 && obstacles.every(({ name }) => name === "forwarding-off");
}

/** Whoever interrupts this has all the same what can be shown: a join command, for one. */
async function untilReady(invocation: Invocation): Promise<Omit<BroughtUp, "units" | "processes">> {
  const startMs = performance.now();
  let told = "";
  for (;;) {
    const status = await tryStatus(invocation);
    const reasons = status?.reasons ?? [notStarted];
    const findings = status?.findings ?? [];
    const { subnet, ipv6Subnet } = status?.networks[0]?.lease ?? {};
    const subnets = [subnet, ipv6Subnet].filter((prefix) => prefix !== undefined).join(",");
    if (status !== undefined && status.state !== "notReady") {
      reportStep(invocation, `flanneld is ${status.state}: this host has ${subnets}`);
      return {
        ready: true,
        state: status.state,
        ...(subnet !== undefined && { subnet }),
        ...(ipv6Subnet !== undefined && { ipv6Subnet }),
        reasons,
        findings,
      };
    }
    const waitedMs = performance.now() - startMs;
    if (isForPerson(reasons) || waitedMs >= READY_WITHIN_MS || invocation.signal.aborted)
      return { ready: false, state: "notReady", reasons, findings };
    const text = joined(reasons);
    if (waitedMs >= TELL_AFTER_MS && text !== told) {
      told = text;
      remark(invocation, `waiting for flanneld: ${told}`);
    }
    await sleep(POLL_MS, undefined, { signal: invocation.signal }).catch(() => undefined);
  }
}

async function tryStatus({ options, signal }: Invocation): Promise<Status | undefined> {
  const sockets = [`${options.paths.subnetFile.replace(/subnet\.env$/, "")}flanneld.sock`];
  try {
    return await askAgent(sockets, statusRequest, signal);
  } catch {
    return undefined;
  }
}

/** 0 done and, with systemd, ready. */
export function exitCodeOf({ ready }: BroughtUp, { signal }: Invocation): ExitCode {
  if (ready !== false) return exitCodes.ok;
  return signal.aborted ? exitCodes.interrupted : exitCodes.failure;
}

/** What is left to do on this host, and what stands in the way. */
export function renderBroughtUp(broughtUp: BroughtUp, services: HostServices, paint: Paint): string[] {
  const { ready, reasons, findings, processes } = broughtUp;
  const lines: string[] = [];
  if (ready === undefined) {
    const first = processes.length > 1 ? ", in this order" : "";
    lines.push("", `run as root on this host, under a supervisor that restarts it${first}:`);
    lines.push(...hostProcesses(services).map((process) => `  ${commandLine(process, services.paths)}`));
  } else if (!ready) {
    lines.push("", `${paint.bad("flanneld is not ready yet")}: ${joined(reasons)}`);
    lines.push("  flannelctl wait continues to wait; journalctl -u flanneld shows the log");
  }
  if (findings.length > 0) lines.push("", "what this host still needs:");
  for (const { evidence, remedy } of findings) lines.push(`  ${paint.warn("!")} ${evidence}`, `      ${remedy}`);
  return lines;
}
