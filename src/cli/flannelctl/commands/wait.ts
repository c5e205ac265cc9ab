// `flannelctl wait`: blocks until the agent is ready, or degraded: packets flow then, too; an agent that is not there yet is waited for too.
import { setTimeout as sleep } from "node:timers/promises";
import type { Status } from "../../../agent/control/control-protocol.ts";
import { describeError, hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { formatDuration } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present, remark } from "../session/invocation.ts";
import { type WaitOutput, waitOutputSchema } from "../session/json-output.ts";
import { statusOfNamedNetwork } from "../session/one-network.ts";
import { statusRequest } from "./status.ts";

const pollMs = 200;

/** 0 when ready or degraded within `timeoutSeconds`, else 1. */
export async function waitUntilReady(invocation: Invocation, timeoutSeconds: number): Promise<ExitCode> {
  const { signal, terminal } = invocation;
  const startMs = terminal.nowMs();
  const deadlineMs = startMs + timeoutSeconds * 1000;
  let told: string | undefined;
  for (;;) {
    const { state, reasons } = await askState(invocation);
    const nowMs = terminal.nowMs();
    const ready = state !== "notReady";
    const result: WaitOutput = { ready, state, waitedSeconds: (nowMs - startMs) / 1000, reasons: [...reasons] };
    if (result.ready || nowMs >= deadlineMs) {
      present(invocation, waitOutputSchema, result, renderWait);
      return result.ready ? exitCodes.ok : exitCodes.failure;
    }
    const text = reasons.map(({ message }) => message).join("; ");
    if (text !== told) {
      told = text;
      remark(invocation, `waiting: ${told}`);
    }
    await sleep(Math.min(pollMs, Math.max(1, deadlineMs - nowMs)), undefined, { signal });
  }
}

type Answer = Pick<Status, "state" | "reasons">;

/** A missing or starting agent is a reason like any other; other failures are thrown. */
async function askState({ options, signal }: Invocation): Promise<Answer> {
  try {
    const status = await askAgent(options.socketPaths, statusRequest, signal);
    const isThere = options.network === undefined || status.networks.some(({ name }) => name === options.network);
    if (!isThere) return without("starting", `the agent serves no network ${options.network} yet`);
    return statusOfNamedNetwork(status, options);
  } catch (error) {
    if (hasCode(error, "AGENT_ABSENT")) {
      return without("agent-absent", `no flanneld listens on ${options.socketPaths.at(-1)}`);
    }
    // During an upgrade the agent of before may still answer.
    if (hasCode(error, "AGENT_INCOMPATIBLE")) return without("agent-incompatible", error.message);
    if (hasCode(error, "AGENT_SILENT", "INTERNAL") && error.retryable)
      return without("agent-silent", describeError(error));
    throw error;
  }
}

function without(name: string, message: string): Answer {
  return { state: "notReady", reasons: [{ name, state: "notReady", message }] };
}

function renderWait({ state, waitedSeconds, reasons }: WaitOutput): string[] {
  const after = `after ${formatDuration(waitedSeconds)}`;
  if (state === "ready") return [`ready ${after}`];
  const head = `${state === "degraded" ? "degraded" : "not ready"} ${after}:`;
  return [head, ...reasons.map(({ message }) => `  ${message}`)];
}
