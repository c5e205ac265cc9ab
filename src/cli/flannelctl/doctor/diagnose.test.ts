import { expect, test } from "vitest";
import { conclude, type Look } from "../../../doctor/examine.ts";
import { makePaint } from "../../../terminal/text.ts";
import { renderDoctor } from "../commands/doctor.ts";
import type { DoctorFinding, DoctorOutput } from "../session/doctor-output.ts";
import { limitAfter, stageLimit, togetherOf } from "./diagnose.ts";
import type { KnownHost } from "./known-host.ts";

const lookOf = (names: readonly string[], unknown: readonly (readonly [string, string])[] = []): Look => ({
  names: new Set(names),
  findings: [],
  unknown: new Map(unknown),
});

test("networks that were not looked at make no check less fine", () => {
  const asked = [{ network: "a" }, { network: "b" }] as KnownHost[];
  const looks = [lookOf(["x", "y", "z"]), lookOf(["x", "y"], [["y", "no answer"]])];
  const { checked, unknown } = conclude(togetherOf(looks, asked, 40));
  expect(unknown.map(({ name }) => name)).toEqual(["y", "networks"]);
  expect(checked - unknown.length).toBe(2);
});

test.each([
  ["an agent that answers at once", 50, 2_250],
  ["a stopped one", 450, 2_000],
  ["one that hangs", 1_300, 1_150],
  ["one that looked at a slow host first", 2_400, 1_100],
])("leaves three seconds for all: %s", (_, elapsedMs, limitMs) => {
  expect(limitAfter(elapsedMs)).toBe(limitMs);
});

test("every limit is one that a timer takes", () => {
  for (let elapsedMs = 0; elapsedMs < 3_000; elapsedMs += 0.7) {
    const limitMs = stageLimit(limitAfter(elapsedMs));
    expect(() => AbortSignal.timeout(limitMs)).not.toThrow();
    expect(limitMs).toBeGreaterThanOrEqual(600);
  }
});

test("what a finding explains is not fine", () => {
  const findingOf = (code: string, suppressedBy: string | null): DoctorFinding => ({
    ...{ code, state: "bad", severity: "error", impactsTraffic: true, summary: "", evidence: [], explains: [] },
    ...{ remedy: { command: "x", others: [], safe: "no", fix: [] }, suppressedBy, doc: "" },
  });
  const output: DoctorOutput = {
    ...{ host: "h1", agent: "running", subnets: [], checked: 10, durationSeconds: 1 },
    findings: [findingOf("cause", null)],
    suppressed: [findingOf("effect", "cause")],
    unknown: [{ code: "other", reason: "no answer" }],
  };
  expect(renderDoctor(output, makePaint(false), 1).join("\n")).toContain("10 checks: 7 fine, 1 unknown");
});
