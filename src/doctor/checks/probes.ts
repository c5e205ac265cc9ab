// What the running agent's probes found of peers, each of them and not only those that are asked now: lost in both directions, in
// one alone, or too large. An echo that is answered now says more than a probe of before.
import { familyOf } from "../../ip/address.ts";
import type { ProbeFact } from "../agent-facts.ts";
import { type CheckContext, carriesTraffic, defineCheck } from "../check.ts";
import type { EchoFacts } from "../peer-facts.ts";

const MAX_NAMED = 3;
const ONE_WAY_AFTER_MS = 10_000;

const needs = ["agent", "echoes"] as const;

function echoOf({ peer, subnet }: ProbeFact, echoes: readonly EchoFacts[]): EchoFacts | undefined {
  return echoes.find((echo) => echo.peer === peer && echo.family === familyOf(subnet));
}

/** Something of the peer came back through the tunnel, or by its direct route. */
function answersNow(probe: ProbeFact, echoes: readonly EchoFacts[]): boolean {
  const echo = echoOf(probe, echoes);
  if (echo === undefined) return false;
  return echo.isDirect ? echo.bridge === "answered" || echo.hostToBridge === "answered" : echo.tunnel === "answered";
}

function ofState(
  state: ProbeFact["state"],
  { probes }: { readonly probes: readonly ProbeFact[] },
  echoes: readonly EchoFacts[],
): readonly (readonly ProbeFact[])[] {
  const found = probes.filter((probe) => probe.state === state && !answersNow(probe, echoes));
  return found.length === 0 ? [] : [found];
}

function named(probes: readonly ProbeFact[]): string {
  const shown = probes.slice(0, MAX_NAMED).map(({ subnet, publicIp }) => `${publicIp ?? "?"}, the host of ${subnet}`);
  return `${shown.join("; ")}${probes.length > MAX_NAMED ? ` and ${probes.length - MAX_NAMED} more` : ""}`;
}

function sinceOf(probes: readonly ProbeFact[]): string {
  return probes.map(({ since }) => since).toSorted()[0] ?? "";
}

function portOf({ needs: asked }: CheckContext): string {
  return String(asked.kernelDevice?.udpPort ?? asked.udpPort ?? "of the backend");
}

export const probedDown = defineCheck({
  name: "peer-unreachable",
  severity: "error",
  needs,
  appliesTo: carriesTraffic,
  check: (_context, { agent, echoes }) => ofState("down", agent, echoes),
  evidence: (probes) =>
    `the agent's probes get no answer from ${named(probes)}, since ${sinceOf(probes)} (${probes[0]?.signature})`,
  remedy: (_, context) =>
    `flannelctl doctor # on that host; and let UDP port ${portOf(context)} pass both ways (security group, firewall)`,
});

/** What was heard of a peer a moment before it fell silent looks like one way for some seconds. */
function isLasting({ since, signature }: ProbeFact): boolean {
  return Date.now() - Date.parse(since) > ONE_WAY_AFTER_MS && !signature.includes("underlay-");
}

export const probedOneWay = defineCheck({
  name: "underlay-oneway",
  severity: "error",
  needs,
  appliesTo: carriesTraffic,
  check: (_context, { agent, echoes }) =>
    ofState("oneWay", agent, echoes)
      .map((probes) => probes.filter((probe) => isLasting(probe) && echoOf(probe, echoes)?.underlay !== "lost"))
      .filter((probes) => probes.length > 0),
  evidence: (probes) => {
    const [first] = probes;
    const how =
      first?.direction === "in"
        ? "what that host sends does not arrive here, and what this host sends arrives there"
        : "what this host sends does not arrive there, and what that host sends arrives here";
    return `packets pass in one direction alone with ${named(probes)}, since ${sinceOf(probes)}: ${how}`;
  },
  remedy: (probes, context) => {
    const [from, to] =
      probes[0]?.direction === "in"
        ? [probes[0].publicIp ?? "that host", "this host"]
        : ["this host", probes[0]?.publicIp ?? "that host"];
    return `let packets to UDP port ${portOf(context)} pass from ${from} to ${to} (security group, firewall, router between them)`;
  },
});

export const probedMtu = defineCheck({
  name: "fragments-dropped",
  severity: "error",
  needs,
  appliesTo: carriesTraffic,
  check: (_context, { agent: { probes }, echoes }) => {
    const found = probes.filter(
      (probe) => probe.state === "mtuBroken" && echoOf(probe, echoes)?.largeTunnel !== "answered",
    );
    return found.length === 0 ? [] : [found];
  },
  evidence: (probes) =>
    `the agent's probes find that packets larger than ${probes[0]?.overlayBytes ?? "?"} bytes do not reach ${named(probes)}, smaller ones do`,
  remedy: (probes) =>
    `flannelctl config set # with "Backend": {"MTU": ${probes[0]?.overlayBytes ?? "a smaller number"}}; then re-create the containers`,
});

export const probedPath = defineCheck({
  name: "mtu-path-smaller",
  severity: "warning",
  needs,
  appliesTo: carriesTraffic,
  check: ({ overlayMtuBytes }, { agent: { probes }, echoes }) => {
    const found = probes.filter(
      (probe) =>
        probe.state !== "mtuBroken" &&
        probe.wholeBytes !== undefined &&
        probe.wholeBytes < Math.min(overlayMtuBytes, probe.overlayBytes ?? overlayMtuBytes) &&
        echoOf(probe, echoes)?.largeUnderlay !== "answered",
    );
    return found.length === 0 ? [] : [found];
  },
  evidence: (probes) =>
    `packets of containers above ${probes[0]?.wholeBytes} bytes are fragmented on the way to ${named(probes)}`,
  remedy: (probes) =>
    `flannelctl config set # with "Backend": {"MTU": ${probes[0]?.wholeBytes}}; then re-create the containers`,
});

const WORST_FIRST: readonly ProbeFact["state"][] = ["down", "oneWay", "mtuBroken", "suspect", "slow", "unknown", "up"];

/** Which peers are worth an echo of a person's: those in doubt first. */
export function doubtOf(state: ProbeFact["state"] | undefined): number {
  return state === undefined ? WORST_FIRST.length : WORST_FIRST.indexOf(state);
}
