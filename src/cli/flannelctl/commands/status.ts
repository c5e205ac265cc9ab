// `flannelctl status`: what the running agent says about itself.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type Status, statusSchema } from "../../../agent/control/control-protocol.ts";
import { hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { printable } from "../../../terminal/foreign-text.ts";
import { formatDuration, formatPairs, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { statusOutputSchema } from "../session/json-output.ts";
import { statusOfNamedNetwork } from "../session/one-network.ts";
import { reportError } from "../session/report-error.ts";
import { networkPairs, networkSections } from "./network-status-view.ts";

/** 0 ready, 1 degraded or not ready, 3 no agent. */
export async function showStatus(invocation: Invocation): Promise<ExitCode> {
  const { options, signal, terminal } = invocation;
  let status: Status;
  try {
    status = statusOfNamedNetwork(await askAgent(options.socketPaths, statusRequest, signal), options);
  } catch (error) {
    if (!hasCode(error, "AGENT_ABSENT")) throw error;
    reportError(invocation.terminal, options.json, error);
    return exitCodes.noAgent;
  }
  present(invocation, statusOutputSchema, status, (value, paint) => renderStatus(value, paint, terminal.nowMs()));
  return status.state === "ready" ? exitCodes.ok : exitCodes.failure;
}

/** The agent waits for nothing before it answers this. */
const STATUS_WITHIN_MS = 10_000;

export const statusRequest = {
  method: "GET",
  path: controlPaths.status,
  schema: statusSchema,
  timeoutMs: STATUS_WITHIN_MS,
} as const;

export function renderStatus(status: Status, paint: Paint, nowMs: number): string[] {
  const { agent, networks } = status;
  const uptimeSeconds = (nowMs - Date.parse(agent.startedAt)) / 1000;
  const state = describeState(status, paint);
  return [
    `${paint.bold(`flanneld ${agent.version}`)} (pid ${agent.pid}, up ${formatDuration(uptimeSeconds)}): ${state}`,
    ...status.reasons.map((reason) => `  ${paintState(reason.state, paint)("because")} ${reason.message}`),
    ...formatPairs([
      ...networks.flatMap((network) => [
        ...(networks.length > 1 ? [["network", describeNetwork(network, paint)] as const] : []),
        ...networkPairs(network, nowMs),
      ]),
      ["store", describeStore(status)],
      ["certificates", describeCertificates(status, nowMs)],
      ["state dir", agent.stateDirectory],
    ]),
    ...networks.flatMap((network) => networkSections(network, nowMs)),
    ...findings(status, paint),
  ];
}

function describeNetwork({ name, state }: Status["networks"][number], paint: Paint): string {
  return state === undefined ? name : `${paint.bold(name)}, ${paintState(state, paint)(stateNames[state])}`;
}

const stateNames = { ready: "ready", degraded: "degraded", notReady: "not ready" } as const;

function paintState(state: Status["state"], paint: Paint): (text: string) => string {
  return { ready: paint.good, degraded: paint.warn, notReady: paint.bad }[state];
}

/** Reasons of this moment may amount to another state, which is reported when they have lasted. */
function describeState({ state, pendingState }: Status, paint: Paint): string {
  const told = paintState(state, paint)(stateNames[state]);
  return pendingState === undefined
    ? told
    : `${told}, soon ${paintState(pendingState, paint)(stateNames[pendingState])}`;
}

function describeStore({ store }: Status): string {
  const age = store.ageSeconds === undefined ? "never answered" : `last answer ${formatDuration(store.ageSeconds)} ago`;
  if (store.connected) return `${store.description}, connected, ${age}`;
  const why = store.problem === undefined ? "" : ` (${printable(store.problem)})`;
  const effect = store.ageSeconds === undefined ? "" : "; known peers stay reachable";
  return `${store.description}, not connected${why}, ${age}${effect}`;
}

/** The first of them to end says it all. */
function describeCertificates({ store }: Status, nowMs: number): string | undefined {
  const [first] = [...(store.certificates ?? [])].sort((a, b) => a.endsAt.localeCompare(b.endsAt));
  if (first === undefined) return undefined;
  const names = { client: "our own", authority: "the CA's", server: "the store's" };
  const seconds = (Date.parse(first.endsAt) - nowMs) / 1000;
  const when = seconds > 0 ? `expires in ${formatDuration(seconds)}` : "expired";
  return `${names[first.role]} ${when}, on ${first.endsAt.slice(0, 10)}`;
}

function findings(status: Status, paint: Paint): string[] {
  if (status.findings.length === 0) return [];
  return [
    "",
    "findings:",
    ...status.findings.flatMap(({ name, severity, evidence, remedy }) => [
      `  ${severity === "error" ? paint.bad("error") : paint.warn("warning")} ${name}: ${evidence}`,
      `    remedy: ${remedy}`,
    ]),
  ];
}
