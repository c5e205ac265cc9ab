// Looks at this host with every check of the list, and gives the result as `flannelctl doctor` tells it.
import { hostname } from "node:os";
import { type CauseName, causeOf, causes } from "../../../doctor/causes.ts";
import type { CheckContext } from "../../../doctor/check.ts";
import { checks } from "../../../doctor/checks.ts";
import { conclude, type Examination, type Look, look, type RankedFinding } from "../../../doctor/examine.ts";
import type { Finding } from "../../../doctor/finding.ts";
import { stepText } from "../../../doctor/fix-step.ts";
import type { DoctorFinding, DoctorOutput } from "../session/doctor-output.ts";
import type { Invocation } from "../session/invocation.ts";
import { gatherAgent, planDifference } from "./agent-gatherer.ts";
import type { FixOffer } from "./apply-fixes.ts";
import { type GatherLimits, hostGatherers } from "./host-gatherers.ts";
import { type HostWide, hostWide } from "./host-wide.ts";
import { type KnownHost, knowNetworks } from "./known-host.ts";
import { gatherStore } from "./store-gatherer.ts";

/** Of each fact, where knowing the host, which comes before, took no longer than usual. */
const LIMIT_MS = 2_250;
/** Of all, but for start and end of the program, which take some 300 ms. */
const TOTAL_MS = 2_450;
/** Of each fact, where the agent hangs: most echoes take less. */
const LEAST_LIMIT_MS = 1_100;
/** The agent may look at this host first, and waits for that no longer than 1.15 s. */
const STATUS_WITHIN_MS = 1_300;
/** A program that is ended says more than a fact that is too late. */
const MARGIN_MS = 150;
const MAX_PEERS = 6;
/** Of a host with more, those in trouble come first. */
const MAX_NETWORKS = 16;
/** Under this name the networks that were not looked at are unknown. */
const UNASKED = "networks";
/** Stages follow each other. */
const STAGE_PERCENT = 60;

export interface Diagnosis {
  readonly output: DoctorOutput;
  /** False: nothing of flannel was found on this host. */
  readonly isFlannelHere: boolean;
  /** Of the findings, in their order: what `--fix` may run. */
  readonly fixes: readonly FixOffer[];
  /** Where what was run is kept. */
  readonly stateDirectory: string;
}

/** Of each fact, `elapsedMs` after the start. */
export function limitAfter(elapsedMs: number): number {
  return Math.round(Math.min(LIMIT_MS, Math.max(LEAST_LIMIT_MS, TOTAL_MS - elapsedMs)));
}

/** Of each stage of a fact with several. Whole milliseconds: timers take nothing else. */
export function stageLimit(limitMs: number): number {
  return Math.floor((limitMs * STAGE_PERCENT) / 100);
}

/**
 * `slowLimitMs`: of each fact, and of the agent's answer before; by default all takes less than three seconds. `peer`: the one that a
 * person asks for.
 */
export async function diagnose(invocation: Invocation, slowLimitMs?: number, peer?: string): Promise<Diagnosis> {
  const startMs = performance.now();
  const statusWithinMs = Math.max(STATUS_WITHIN_MS, slowLimitMs ?? 0);
  const all = await knowNetworks(invocation.options, invocation.signal, statusWithinMs);
  const limitMs = slowLimitMs ?? limitAfter(performance.now() - startMs);
  const [first] = all;
  const host = hostWide(invocation.options, limitMs - MARGIN_MS, invocation.signal);
  const asked = all.slice(0, MAX_NETWORKS);
  const looks = await Promise.all(
    asked.map((known, at) =>
      lookAtNetwork({ ...invocation, options: known.options }, known, host, {
        limitMs,
        maxPeers: maxPeersOf(at, asked.length),
        peer,
      }),
    ),
  );
  const found = conclude(togetherOf(looks, asked, all.length));
  return {
    fixes: found.findings.flatMap(({ name, evidence, fix }) =>
      fix.map((step) => ({ code: name, evidence: evidence[0] ?? "", step })),
    ),
    stateDirectory: first.stateDirectory,
    output: outputOf(all, found, (performance.now() - startMs) / 1_000),
    isFlannelHere: all.some(({ status, context }) => status !== undefined || context !== undefined),
  };
}

/** Each has a bounded share of the echoes, which are programs. */
function maxPeersOf(at: number, networks: number): number {
  return at < MAX_PEERS ? Math.max(1, Math.floor((2 * MAX_PEERS) / (networks + 1))) : 0;
}

function lookAtNetwork(invocation: Invocation, known: KnownHost, host: HostWide, limits: GatherLimits): Promise<Look> {
  const context = known.context ?? bareContext(known);
  const { limitMs } = limits;
  const gatherers = {
    ...hostGatherers(known, host, context, { ...limits, limitMs: limitMs - MARGIN_MS }),
    agent: () => gatherAgent(known, host),
    planDifference: () => planDifference(known, host, invocation.signal),
    store: () => gatherStore(invocation, known, stageLimit(limitMs)),
  };
  return look(context, checks, gatherers, { limitMs, others: (known.status?.findings ?? []).flatMap(asFinding) });
}

/** What one of several networks alone has says its name. */
export function togetherOf(looks: readonly Look[], asked: readonly KnownHost[], networks: number): Look {
  const keyOf = ({ name, evidence }: Finding) => `${name} ${evidence}`;
  const times = new Map<string, number>();
  for (const finding of looks.flatMap(({ findings }) => findings)) {
    times.set(keyOf(finding), (times.get(keyOf(finding)) ?? 0) + 1);
  }
  const findings = looks.flatMap((one, at) => {
    const name = asked[at]?.network;
    if (name === undefined || looks.length === 1) return one.findings;
    return one.findings.map((finding) =>
      times.get(keyOf(finding)) === 1 ? { ...finding, evidence: `network ${name}: ${finding.evidence}` } : finding,
    );
  });
  const unasked = networks - asked.length;
  const reason = `${unasked} more networks of this host: name one with --network`;
  return {
    // What is unknown was looked for as well.
    names: new Set([...looks.flatMap(({ names }) => [...names]), ...(unasked > 0 ? [UNASKED] : [])]),
    findings,
    unknown: new Map([
      ...looks.flatMap(({ unknown }) => [...unknown]),
      ...(unasked > 0 ? [[UNASKED, reason] as const] : []),
    ]),
  };
}

/** Not where packets to other hosts leave. */
const INSIDE_KINDS: ReadonlySet<string | undefined> = new Set(["bridge", "vxlan", "tun", "wireguard", "ipip", "dummy"]);

/** Enough for what concerns the host alone. */
function bareContext({ links, status }: KnownHost): CheckContext {
  const told = status?.networks[0]?.externalInterface?.name;
  const outside = links.filter(({ isLoopback, kind }) => !isLoopback && !INSIDE_KINDS.has(kind));
  const usual =
    links.find(({ name }) => name === told) ??
    outside.find(({ kind, isUp }) => kind === undefined && isUp) ??
    outside.find(({ isUp }) => isUp) ??
    outside[0] ??
    links[0];
  return {
    ...{ families: new Set([4 as const]), networks: [], ownSubnets: [], earlierSubnets: [], devices: [] },
    externalInterface: {
      ...{ name: usual?.name ?? "lo", index: usual?.index ?? 1 },
      ...{ mtuBytes: usual?.mtuBytes ?? 1_500, isUp: usual?.isUp ?? false },
    },
    overlayMtuBytes: usual?.mtuBytes ?? 1_500,
    needs: { carriesTraffic: true },
  };
}

/** Of an agent of another version, whose names this one may not know. */
function asFinding({
  name,
  severity,
  evidence,
  remedy,
}: NonNullable<KnownHost["status"]>["findings"][number]): Finding[] {
  return Object.hasOwn(causes, name) ? [{ name: name as CauseName, severity, evidence, remedy }] : [];
}

function outputOf(
  all: readonly [KnownHost, ...KnownHost[]],
  found: Examination,
  durationSeconds: number,
): DoctorOutput {
  const [{ status, silence, backend, context }] = all;
  const findings = found.findings.map((finding) => told(finding, null));
  return {
    host: hostname(),
    agent: status !== undefined ? "running" : /did not answer/.test(silence ?? "") ? "silent" : "absent",
    ...(status === undefined && silence !== undefined && { agentProblem: silence }),
    subnets: all.flatMap((known) => [...(known.context?.ownSubnets ?? [])]),
    ...(all.length > 1 && { networks: all.map(({ network }) => network ?? "") }),
    ...(backend !== undefined &&
      context !== undefined && { backendType: backend.type, mtuBytes: context.overlayMtuBytes }),
    checked: found.checked,
    findings,
    suppressed: found.explained.map(({ finding, by }) => told(finding, by)),
    unknown: found.unknown.map(({ name, reason }) => ({ code: name, reason })),
    durationSeconds: Math.round(durationSeconds * 1_000) / 1_000,
  };
}

const MAX_EVIDENCE = 8;

function told(finding: RankedFinding, suppressedBy: string | null): DoctorFinding {
  const { name, severity, evidence, remedies, explains, fix } = finding;
  const cause = causeOf(name);
  const [command = "", ...others] = remedies.slice(0, MAX_EVIDENCE);
  return {
    code: name,
    state: "bad",
    severity,
    impactsTraffic: severity === "error" && cause?.isQuiet !== true,
    summary: cause?.effect ?? "",
    evidence: evidence.slice(0, MAX_EVIDENCE).map((value) => ({ source: cause?.looksAt ?? "", object: "", value })),
    remedy: { command, others, safe: cause?.fix ?? "no", fix: fix.map(stepText) },
    explains: [...explains],
    suppressedBy,
    doc: `docs/doctor.md#${name}`,
  };
}
