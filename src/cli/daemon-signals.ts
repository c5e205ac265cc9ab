// The signals of a daemon, from its first moment on: loaded before the rest of the program, so that being asked to end is
// an end, whenever it comes. Before Node runs any program, for some hundredths of a second, a signal still kills.
import { exitCodes } from "../exit-codes.ts";

/** SIGQUIT, too: what ends a program in a terminal must not leave a core of one that holds keys. */
const endings = ["SIGTERM", "SIGINT", "SIGQUIT"] as const;
/**
 * Would end the program, of which nobody knows who sent them. SIGUSR1 also opens Node's debugger to all users of the host;
 * the launchers close that to the moments before this, too.
 */
const meaningless = ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR"] as const;

export type EndSignal = (typeof endings)[number];

export interface DaemonSignals {
  /** From now on `end` is called; before, the process ends at once with exit code 0. */
  onEnd(end: (signal: EndSignal) => void): void;
  /** From now on `reload` is called for SIGHUP; before, there is nothing to reload. */
  onReload(reload: () => void): void;
}

export function listenToSignals(): DaemonSignals {
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
