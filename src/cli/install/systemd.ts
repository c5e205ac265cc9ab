// The service manager of this host, by its own program. Errors name the command and where the service says more.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { FlannelError } from "../../errors.ts";

/** Whether systemd is what runs this host (sd_booted). */
export function isSystemdRunning(): boolean {
  return existsSync("/run/systemd/system");
}

export async function reloadUnits(signal: AbortSignal): Promise<void> {
  await systemctl(["daemon-reload"], signal);
}

/** `unit` is a name, or the path of a unit outside of systemd's directories. Starts it now and at every boot; waits until it is ready. */
export async function enableAndStart(unit: string, signal: AbortSignal): Promise<void> {
  await systemctl(["enable", "--quiet", unit], signal);
  await systemctl(["restart", nameOf(unit)], signal);
}

/** As above, without waiting until it is ready. */
export async function enableAndBegin(unit: string, signal: AbortSignal): Promise<void> {
  await systemctl(["enable", "--quiet", unit], signal);
  await systemctl(["restart", "--no-block", nameOf(unit)], signal);
}

/** Waits until it is ready. Nothing happens when it runs. */
export async function start(unit: string, signal: AbortSignal): Promise<void> {
  await systemctl(["start", unit], signal);
}

export async function stop(unit: string, signal: AbortSignal): Promise<void> {
  await systemctl(["stop", unit], signal);
}

/** Stops it now and for every boot. Nothing to do without it. */
export async function disableAndStop(unit: string, signal: AbortSignal): Promise<void> {
  if (!(await isEnabled(unit, signal))) return;
  await systemctl(["disable", "--quiet", "--now", nameOf(unit)], signal);
}

export async function isEnabled(unit: string, signal: AbortSignal): Promise<boolean> {
  const { code } = await call(["is-enabled", "--quiet", nameOf(unit)], signal);
  return code === 0;
}

/** Whether it runs, or is just being started. */
export async function isActive(unit: string, signal: AbortSignal): Promise<boolean> {
  const { code, said } = await call(["is-active", nameOf(unit)], signal);
  return code === 0 || /^(re)?activating|^reloading/.test(said);
}

async function systemctl(argv: readonly string[], signal: AbortSignal): Promise<void> {
  const { code, said } = await call(argv, signal);
  if (code === 0) return;
  const command = `systemctl ${argv.join(" ")}`;
  const reason = said.trim().split("\n")[0] ?? "";
  const hint =
    argv[0] === "daemon-reload" ? "" : `; see journalctl -u ${nameOf(argv.at(-1) ?? "").replace(/\.service$/, "")}`;
  throw new FlannelError(
    "SERVICE_FAILED",
    `${command} failed${reason === "" ? "" : `: ${reason.replace(/\.$/, "")}`}${hint}`,
  );
}

function call(argv: readonly string[], signal: AbortSignal): Promise<{ code: number; said: string }> {
  return new Promise((resolve, reject) => {
    execFile("systemctl", [...argv], { signal, encoding: "utf8" }, (error, stdout, stderr) => {
      if (error === null) resolve({ code: 0, said: "" });
      else if (signal.aborted) reject(new FlannelError("CANCELLED", "interrupted", { cause: error }));
      else if (typeof error.code === "number") resolve({ code: error.code, said: stderr || stdout });
      else reject(new FlannelError("TOOL_MISSING", `cannot run systemctl: ${error.message}`, { cause: error }));
    });
  });
}

function nameOf(unit: string): string {
  return unit.slice(unit.lastIndexOf("/") + 1);
}
