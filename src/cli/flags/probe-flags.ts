// Flags about probes of peers, and how their values are read. Pure.
import type { FlagDefinition } from "./flags.ts";

const group = "Probes";
const UNITS_MS: Readonly<Record<string, number>> = { "": 1_000, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
const LEAST_MS = 1_000;
const MOST_MS = 3_600_000;

/** `1s`, `1500ms`, `2m`, `1h`, or a number of seconds; 0 for none. Undefined for anything else. */
export function probeIntervalMs(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,7}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text) ?? [];
  const ms = Math.round(Number(digits) * (UNITS_MS[unit] ?? Number.NaN));
  return ms === 0 || (ms >= LEAST_MS && ms <= MOST_MS) ? ms : undefined;
}

export const probeFlags: readonly FlagDefinition[] = [
  {
    name: "probe-interval",
    kind: "string",
    default: "1s",
    group,
    valueName: "DURATION",
    description:
      "Interval between two probes of a peer, from 1s to 1h; at most 40 probes a second leave, so with more peers it takes longer. 0 turns probes off.",
    validate: (text) => (probeIntervalMs(text) === undefined ? "must be 0, or from 1s to 1h" : undefined),
  },
  {
    name: "path-mtu",
    kind: "string",
    default: "show",
    group,
    valueName: "show|repair",
    description:
      "What to do where the path to a peer carries less than containers send: only show it, or also repair it: give the route to that peer its MTU and limit the MSS of TCP, until the path carries more. Repairing needs probes; a network with a routing table of its own has none.",
    validate: (text) => (text === "show" || text === "repair" ? undefined : "must be show or repair"),
  },
];
