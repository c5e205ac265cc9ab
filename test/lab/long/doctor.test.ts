// `flannelctl doctor` once more: every trouble with a healthy host after it, and each odd host by itself.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectNamed } from "../../support/doctor-expect.ts";
import { oddHosts } from "../../support/doctor-healthy.ts";
import { DoctorStage } from "../../support/doctor-stage.ts";
import { troubles } from "../../support/doctor-troubles.ts";

let stage: DoctorStage;

beforeAll(async () => {
  stage = await DoctorStage.open();
});

afterAll(() => stage[Symbol.asyncDispose]());

describe("causes", () => {
  it.each(troubles.map((trouble) => [`${trouble.code}: ${trouble.make}`, trouble] as const))(
    "%s",
    async (_, trouble) => {
      await expectNamed(stage, trouble);
      await stage.untilHealthy(trouble.asked ?? 2);
    },
  );
});

describe("hosts in order", () => {
  it.each(oddHosts.map((odd) => [odd.what, odd] as const))("%s", async (_, { make, undo }) => {
    await stage.run(2, make);
    try {
      const { output, codes } = await stage.doctor(2);
      expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual([]);
    } finally {
      await stage.run(2, undo);
    }
  });
});
