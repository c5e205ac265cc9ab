// `flannelctl wait`: blocks until the agent is ready; an agent that is not there yet is waited for too.
import { setTimeout as sleep } from "node:timers/promises";
import { describeError, hasCode } from "../../../errors.ts";
import { formatDuration } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type ExitCode, exitCodes, type Invocation, present, remark } from "../session/invocation.ts";
import { type WaitOutput, waitOutputSchema } from "../session/json-output.ts";
import { statusRequest } from "./status.ts";

const pollMs = 200;

/** 0 when ready within `timeoutSeconds`, else 1. */
export async function waitUntilReady(invocation: Invocation, timeoutSeconds: number): Promise<ExitCode> {
  const { signal, terminal } = invocation;
  const startMs = terminal.nowMs();
  const deadlineMs = startMs + timeoutSeconds * 1000;
  let told: string | undefined;
  for (;;) {
    const reasons = await reasonsNotReady(invocation);
    const nowMs = terminal.nowMs();
    const result: WaitOutput = { ready: reasons.length === 0, waitedSeconds: (nowMs - startMs) / 1000, reasons };
    if (result.ready || nowMs >= deadlineMs) {
      present(invocation, waitOutputSchema, result, renderWait);
      return result.ready ? exitCodes.ok : exitCodes.failure;
    }
    if (reasons.join("; ") !== told) {
      told = reasons.join("; ");
      remark(invocation, `waiting: ${told}`);
    }
    await sleep(Math.min(pollMs, Math.max(1, deadlineMs - nowMs)), undefined, { signal });
  }
}

/** Empty when ready. A missing or starting agent is a reason like any other; other failures are thrown. */
async function reasonsNotReady({ options, signal }: Invocation): Promise<string[]> {
  try {
    const status = await askAgent(options.socketPaths, statusRequest, signal);
    if (status.ready) return [];
    return status.reasons.length === 0 ? ["the agent does not say why it is not ready"] : status.reasons;
  } catch (error) {
    if (hasCode(error, "agent.absent")) return [`no flanneld listens on ${options.socketPaths.at(-1)}`];
    if (hasCode(error, "internal") && error.retryable) return [describeError(error)];
    throw error;
  }
}

function renderWait({ ready, waitedSeconds, reasons }: WaitOutput): string[] {
  if (ready) return [`ready after ${formatDuration(waitedSeconds)}`];
  return [`not ready after ${formatDuration(waitedSeconds)}:`, ...reasons.map((reason) => `  ${reason}`)];
}
