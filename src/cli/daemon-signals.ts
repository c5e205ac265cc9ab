// The signals of a daemon, from its first moment on: loaded before the rest of the program, so that being asked to end is
// an end, whenever it comes. While Node starts, before it runs any program, a signal still kills (docs/decisions/034).
import { readFileSync } from "node:fs";
import { exitCodes } from "../exit-codes.ts";

/** SIGQUIT, too: what ends a program in a terminal must not leave a core of one that holds keys. */
const endings = ["SIGTERM", "SIGINT", "SIGQUIT"] as const;
/**
 * Would end the program, of which nobody knows who sent them. SIGUSR1 also opens Node's debugger to all users of the host;
 * the launchers close that to the moments before this, too.
 */
const meaningless = ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR"] as const;

/** In the masks of /proc/PID/status. */
const [SIGINT_BIT, SIGTERM_BIT] = [1n << 1n, 1n << 14n];

export type EndSignal = (typeof endings)[number];

export interface DaemonSignals {
  /** From now on `end` is called; before, the process ends at once with exit code 0. */
  onEnd(end: (signal: EndSignal) => void): void;
  /** From now on `reload` is called for SIGHUP; before, there is nothing to reload. */
  onReload(reload: () => void): void;
}

/**
 * Of the signals whose default action would end it, the kernel gives process 1 of a container only those that it handles, and
 * ends it by none of them. The handlers that Node has while it starts remove themselves and raise the signal again, in vain: a
 * handler that is missing is a signal that came. (node.cc, SignalExit; where Node sets none of them, nothing is known.)
 */
export function wasEndedInVain(pid: number, status: () => string): boolean {
  if (pid !== 1) return false;
  try {
    const caught = BigInt(`0x${/^SigCgt:\s*([0-9a-f]+)$/m.exec(status())?.[1] ?? "0"}`);
    const [byInterrupt, byTerm] = [SIGINT_BIT, SIGTERM_BIT].map((bit) => (caught & bit) !== 0n);
    return byInterrupt !== byTerm;
  } catch {
    return false; // without /proc
  }
}

export function listenToSignals(): DaemonSignals {
  if (wasEndedInVain(process.pid, () => readFileSync("/proc/self/status", "utf8"))) process.exit(exitCodes.ok);
  let end = (_: EndSignal): void => process.exit(exitCodes.ok);
  let reload = (): void => undefined;
  for (const signal of endings) process.on(signal, () => end(signal));
  process.on("SIGHUP", () => reload());
  for (const signal of meaningless) process.on(signal, () => undefined);
  return {
    onEnd: (given) => {
      end = given;
    },
    onReload: (given) => {
      reload = given;
    },
  };
}
