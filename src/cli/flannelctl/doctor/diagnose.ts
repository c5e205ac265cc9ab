// Looks at this host with every check of the list, and gives the result as `flannelctl doctor` tells it.
import { hostname } from "node:os";
import { type CauseName, causeOf, causes } from "../../../doctor/causes.ts";
import type { CheckContext } from "../../../doctor/check.ts";
import { checks } from "../../../doctor/checks.ts";
import { type Examination, examine, type RankedFinding } from "../../../doctor/examine.ts";
import type { Finding } from "../../../doctor/finding.ts";
import type { DoctorFinding, DoctorOutput } from "../session/doctor-output.ts";
import type { Invocation } from "../session/invocation.ts";
import { gatherAgent } from "./agent-gatherer.ts";
import { hostGatherers } from "./host-gatherers.ts";
import { type KnownHost, knowHost } from "./known-host.ts";
import { gatherStore } from "./store-gatherer.ts";

/** Of each fact; knowing the host comes before. */
const LIMIT_MS = 2_400;
/** A program that is ended says more than a fact that is too late. */
const MARGIN_MS = 150;
/** Stages follow each other. */
const STAGE_SHARE = 0.6;

export interface Diagnosis {
  readonly output: DoctorOutput;
  /** False: nothing of flannel was found on this host. */
  readonly isFlannelHere: boolean;
}

/** `limitMs`: of each fact. */
export async function diagnose(invocation: Invocation, limitMs = LIMIT_MS): Promise<Diagnosis> {
  const startMs = performance.now();
  const { options, signal } = invocation;
  const known = await knowHost(options, signal);
  const context = known.context ?? bareContext(known);
  const gatherers = {
    ...hostGatherers(options, known, context, limitMs - MARGIN_MS),
    agent: () => gatherAgent(options, known, signal),
    store: () => gatherStore(invocation, known, limitMs * STAGE_SHARE),
  };
  const others = (known.status?.findings ?? []).flatMap(asFinding);
  const found = await examine(context, checks, gatherers, { limitMs, others });
  return {
    output: outputOf(known, context, found, (performance.now() - startMs) / 1_000),
    isFlannelHere: known.status !== undefined || known.context !== undefined,
  };
}

/** Enough for what concerns the host alone. */
function bareContext({ links }: KnownHost): CheckContext {
  const usual = links.find(({ kind, isLoopback }) => kind === undefined && !isLoopback) ?? links[0];
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

function outputOf(known: KnownHost, context: CheckContext, found: Examination, durationSeconds: number): DoctorOutput {
  const { status, silence } = known;
  const findings = found.findings.map((finding) => told(finding, null));
  return {
    host: hostname(),
    agent: status !== undefined ? "running" : /did not answer/.test(silence ?? "") ? "silent" : "absent",
    ...(status === undefined && silence !== undefined && { agentProblem: silence }),
    subnets: [...context.ownSubnets],
    ...(known.backend !== undefined && { backendType: known.backend.type, mtuBytes: context.overlayMtuBytes }),
    checked: found.checked,
    findings,
    suppressed: found.explained.map(({ finding, by }) => told(finding, by)),
    unknown: found.unknown.map(({ name, reason }) => ({ code: name, reason })),
    durationSeconds: Math.round(durationSeconds * 1_000) / 1_000,
  };
}

const MAX_EVIDENCE = 8;

function told(finding: RankedFinding, suppressedBy: string | null): DoctorFinding {
  const { name, severity, evidence, remedies, explains } = finding;
  const cause = causeOf(name);
  const [command = "", ...others] = remedies.slice(0, MAX_EVIDENCE);
  return {
    code: name,
    state: "bad",
    severity,
    impactsTraffic: severity === "error" && cause?.isQuiet !== true,
    summary: cause?.effect ?? "",
    evidence: evidence.slice(0, MAX_EVIDENCE).map((value) => ({ source: cause?.looksAt ?? "", object: "", value })),
    remedy: { command, others, safe: cause?.fix ?? "no" },
    explains: [...explains],
    suppressedBy,
    doc: `docs/doctor.md#${name}`,
  };
}
