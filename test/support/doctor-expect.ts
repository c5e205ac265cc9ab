// What tests of `flannelctl doctor` expect of a trouble.
import { expect } from "vitest";
import type { DoctorStage } from "./doctor-stage.ts";
import type { Trouble } from "./doctor-troubles.ts";

/** Makes the trouble, and expects that its cause is told, and nothing beside it. */
export async function expectNamed(stage: DoctorStage, trouble: Trouble): Promise<void> {
  const { code, make, undo, at = 2, asked = 2, seen = /./, words = [], probes, probesForMs, fromUp } = trouble;
  if (fromUp === true) await stage.untilProbes(asked, ["up", "slow"]);
  await stage.run(at, make);
  try {
    if (probes !== undefined) await stage.untilProbes(asked, [probes], probesForMs);
    const { output, codes, exitCode } = await stage.doctor(asked, ...words.map((word) => stage.fill(word)));
    expect(codes, JSON.stringify([output.findings, output.unknown], undefined, 1)).toEqual([code]);
    expect(output.findings[0]?.evidence[0]?.value).toMatch(seen);
    expect(exitCode).toBe(1);
  } finally {
    await stage.run(at, undo);
  }
}
