// flanneld: flags and environment → options, log, signals, exit code. The agent itself is src/agent.
import { writeFileSync } from "node:fs";
import { runAgent } from "../agent/lifecycle/run-agent.ts";
import { backends } from "../backend/registry.ts";
import { hasCode } from "../errors.ts";
import { type ExitCode, exitCodes } from "../exit-codes.ts";
import { endProcess } from "../sys/end-process.ts";
import { holdSpareDescriptors } from "../sys/spare-descriptors.ts";
import { writeToStderr } from "../sys/standard-streams.ts";
import { createLogger } from "../telemetry/create-logger.ts";
import { logWarnings } from "../telemetry/log-warnings.ts";
import { oneLine } from "../terminal/foreign-text.ts";
import { version } from "../version.ts";
import type { DaemonSignals } from "./daemon-signals.ts";
import { flanneldUsageHint, resolveAgentOptions } from "./flags/flanneld-flags.ts";

/** An agent that cannot end by itself in this time is ended: a supervisor waits for it. */
const STOP_WITHIN_MS = 4_500;

/** So that ps, ss and pidof show the program instead of Node's "MainThread"; the arguments stay as they are. */
function nameProcess(): void {
  try {
    writeFileSync("/proc/self/comm", "flanneld");
  } catch {
    // a name for people, no more
  }
}

async function main(signals: DaemonSignals, storeProgram: string): Promise<ExitCode> {
  const invocation = resolveAgentOptions(process.argv.slice(2), process.env);
  if (invocation.action !== "run") {
    process.stdout.write(invocation.action === "help" ? invocation.text : `${version}\n`);
    return exitCodes.ok;
  }
  const { options, warnings, given } = invocation;
  holdSpareDescriptors();
  nameProcess();
  const logger = createLogger({ format: options.logFormat, verbosity: options.verbosity });
  logWarnings(logger);
  const stop = new AbortController();
  signals.onEnd((signal) => {
    if (stop.signal.aborted) endProcess(exitCodes.failure);
    logger.info("agent.stopping", `${signal} received: stopping; a second signal ends flanneld at once`);
    stop.abort();
    setTimeout(() => {
      logger.error("agent.stop-forced", "not stopped in time: ending now; kernel state stays");
      endProcess(exitCodes.failure);
    }, STOP_WITHIN_MS).unref();
  });
  const reloads = new Set<() => void>();
  signals.onReload(() => reloads.forEach((reload) => void reload()));
  logger.info("agent.starting", `flanneld ${version}, pid ${process.pid}`, { ...given, node: process.version });
  for (const warning of warnings) logger.warn("flags.odd", warning);
  const onReload = (reload: () => void): Disposable => {
    reloads.add(reload);
    return { [Symbol.dispose]: () => void reloads.delete(reload) };
  };
  const code = await runAgent({ options, version, backends, logger, storeProgram, signal: stop.signal, onReload });
  // Whatever a library still holds must not keep an agent alive that has released everything of its own.
  return endProcess(code);
}

/** Does not return: ends the process with its exit code. `storeProgram`: flannel-store's main module. */
export async function runFlanneld(signals: DaemonSignals, storeProgram: string): Promise<never> {
  try {
    process.exitCode = await main(signals, storeProgram);
  } catch (error) {
    if (!hasCode(error, "USAGE")) throw error;
    writeToStderr(`flanneld: ${oneLine(error.message)}\n${flanneldUsageHint}\n`);
    process.exitCode = exitCodes.usage;
  }
  process.exit();
}
