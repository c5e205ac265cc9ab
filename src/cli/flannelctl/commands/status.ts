// `flannelctl status`: what the running agent says about itself.
import { type Status, statusSchema } from "../../../agent/control/control-protocol.ts";
import { backends } from "../../../backend/registry.ts";
import { hasCode } from "../../../errors.ts";
import { formatAgo, formatDuration, formatPairs, formatTable, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type ExitCode, exitCodes, type Invocation, present } from "../session/invocation.ts";
import { statusOutputSchema } from "../session/json-output.ts";
import { reportError } from "../session/report-error.ts";

const longestList = 10;

/** 0 ready, 1 not ready, 3 no agent. */
export async function showStatus(invocation: Invocation): Promise<ExitCode> {
  const { options, signal, terminal } = invocation;
  let status: Status;
  try {
    status = await askAgent(options.socketPaths, statusRequest, signal);
  } catch (error) {
    if (!hasCode(error, "agent.absent")) throw error;
    reportError(invocation.terminal, options.json, error);
    return exitCodes.noAgent;
  }
  present(invocation, statusOutputSchema, status, (value, paint) => renderStatus(value, paint, terminal.nowMs()));
  return status.ready ? exitCodes.ok : exitCodes.failure;
}

export const statusRequest = { method: "GET", path: "/v1/status", schema: statusSchema } as const;

export function renderStatus(status: Status, paint: Paint, nowMs: number): string[] {
  const uptimeSeconds = (nowMs - Date.parse(status.startedAt)) / 1000;
  const state = status.ready ? paint.good("ready") : paint.bad("not ready");
  return [
    `${paint.bold(`flanneld ${status.version}`)} (pid ${status.pid}, up ${formatDuration(uptimeSeconds)}): ${state}`,
    ...status.reasons.map((reason) => `  ${paint.bad("because")} ${reason}`),
    ...formatPairs(summary(status, nowMs)),
    ...section(
      "peers not reached",
      status.peers.skipped.map((peer) => [peer.key, peer.reason]),
    ),
    ...section(
      "unreadable keys in the store",
      status.store.unreadableKeys.map((key) => [key.key, key.reason]),
    ),
    ...section(
      "kernel objects that could not be programmed",
      status.failures.map((failure) => [failure.object, failure.error, `tried ${failure.attempts}×`]),
    ),
    ...section(
      "last repairs",
      status.repairs.last.map((repair) => [formatAgo(repair.at, nowMs), repair.action, repair.object]),
    ),
    ...preflight(status, paint),
  ];
}

function summary(status: Status, nowMs: number): [string, string | undefined][] {
  const { peers, repairs } = status;
  const mtu = status.mtuBytes === undefined ? "" : `, MTU ${status.mtuBytes}`;
  return [
    ["lease", describeLease(status, nowMs)],
    ["backend", `${status.backend}${mtu}`],
    ["interface", describeInterface(status)],
    ["store", describeStore(status)],
    ["certificates", describeCertificates(status, nowMs)],
    ["peers", `${peers.programmed} of ${peers.desired} programmed, ${peers.known} known`],
    ["rules", describeRules(status)],
    ...dataPlane(status),
    ["repairs", repairs.total === 0 ? "none" : String(repairs.total)],
    ["subnet file", status.subnetFile],
    ["state", status.stateDirectory],
  ];
}

function describeRules({ rules }: Status): string | undefined {
  if (rules === undefined) return undefined;
  const { mode, reason, masquerade, forward, warnings } = rules;
  const what = [...(masquerade ? ["masquerade"] : []), ...(forward ? ["forward"] : [])].join(" and ") || "none wanted";
  return [`${what} in ${mode}: ${reason}`, ...warnings].join("; ");
}

/** What the agent carries itself: how, how much, and what it dropped and why. */
function dataPlane({ backend, dataPlane: plane }: Status): [string, string][] {
  if (plane === undefined) return [];
  const { features, carried, problem } = plane;
  const number = (value: number | undefined) => (value ?? 0).toLocaleString("en");
  const running = backends.find(backend)?.describeFeatures?.(features ?? {}) ?? "running";
  const dropped = Object.entries(plane.dropped).filter(([, packets]) => packets > 0);
  return [
    ["data plane", problem ?? running],
    ["packets", `${number(carried["sentPackets"])} sent, ${number(carried["receivedPackets"])} received`],
    [
      "dropped",
      dropped.length === 0 ? "none" : dropped.map(([reason, packets]) => `${number(packets)} ${reason}`).join(", "),
    ],
  ];
}

function describeLease({ lease }: Status, nowMs: number): string {
  if (lease === undefined) return "none";
  const subnets = [lease.subnet, lease.ipv6Subnet].filter((subnet) => subnet !== undefined).join(" and ");
  if (lease.isReservation) return `${subnets}, reserved`;
  if (lease.expiresAt === undefined) return subnets;
  return `${subnets}, ${formatExpiry((Date.parse(lease.expiresAt) - nowMs) / 1000)}`;
}

function formatExpiry(seconds: number): string {
  return seconds > 0 ? `expires in ${formatDuration(seconds)}` : "expired";
}

function describeInterface({ externalInterface }: Status): string | undefined {
  if (externalInterface === undefined) return undefined;
  const { name, mtuBytes, address, ipv6Address, publicIp, publicIpv6 } = externalInterface;
  const addresses = [address, ipv6Address].filter((item) => item !== undefined).join(" and ");
  const announced = [publicIp, publicIpv6].filter(
    (item) => item !== undefined && item !== address && item !== ipv6Address,
  );
  const nat = announced.length === 0 ? "" : `, announced as ${announced.join(" and ")}`;
  return `${name} ${addresses}, MTU ${mtuBytes}${nat}`;
}

function describeStore({ store }: Status): string {
  const age = store.ageSeconds === undefined ? "never answered" : `last answer ${formatDuration(store.ageSeconds)} ago`;
  const link = store.connected ? "connected" : "not connected";
  return `${store.description}, ${link}, ${age}${store.warmStart ? ", running on remembered state" : ""}`;
}

/** The first of them to end says it all. */
function describeCertificates({ store }: Status, nowMs: number): string | undefined {
  const [first] = [...(store.certificates ?? [])].sort((a, b) => a.endsAt.localeCompare(b.endsAt));
  if (first === undefined) return undefined;
  const names = { client: "our own", authority: "the CA's", server: "the store's" };
  const seconds = (Date.parse(first.endsAt) - nowMs) / 1000;
  const when = seconds > 0 ? `ends in ${formatDuration(seconds)}` : "has ended";
  return `${names[first.role]} ${when}, on ${first.endsAt.slice(0, 10)}`;
}

function preflight(status: Status, paint: Paint): string[] {
  if (status.preflight.length === 0) return [];
  return [
    "",
    "preflight:",
    ...status.preflight.flatMap((finding) => [
      `  ${finding.severity === "error" ? paint.bad("error") : paint.warn("warning")} ${finding.check}: ${finding.message}`,
      `    cure: ${finding.cure}`,
    ]),
  ];
}

function section(title: string, rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const columns = rows.map((row) => row.length).reduce((most, length) => Math.max(most, length), 0);
  const table = formatTable(new Array<string>(columns).fill(""), rows.slice(0, longestList)).slice(1);
  const more = rows.length > longestList ? [`  and ${rows.length - longestList} more (see --json)`] : [];
  return ["", `${title}:`, ...table.map((line) => `  ${line}`), ...more];
}
