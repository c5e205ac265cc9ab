// What Node or a part of the program warns of becomes a line of the log, with its stack, instead of text on stderr.
import type { Logger } from "./logger.ts";

/** A fault that repeats may have a number in its text. */
const MOST = 100;

/** Logs each warning (`process.emitWarning`) once from now on; nobody else prints it. */
export function logWarnings(logger: Logger): void {
  const logged = new Set<string>();
  process.removeAllListeners("warning");
  process.on("warning", ({ name, message, stack = "" }) => {
    const error = `${name}: ${message}`;
    if (logged.has(error) || logged.size >= MOST) return;
    logged.add(error);
    logger.warn("agent.fault", "a part of the agent failed unexpectedly; it goes on", { error, stack });
  });
}
