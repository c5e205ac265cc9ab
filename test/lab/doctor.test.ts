// `flannelctl doctor` names each cause first, with nothing false beside it; and hosts in order, however odd, give no finding.
// Each trouble ends before the next one: what is left of one would be found beside the next.
import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../../lab/wait.ts";
import { oddHosts, together } from "../support/doctor-healthy.ts";
import { DoctorStage } from "../support/doctor-stage.ts";
import { troubles, troublesWithoutAgent } from "../support/doctor-troubles.ts";

let stage: DoctorStage;

beforeAll(async () => {
  stage = await DoctorStage.open();
});

afterAll(() => stage[Symbol.asyncDispose]());

it("a host in order has no finding, and nothing is unknown", async () => {
  const { output, codes, exitCode } = await stage.doctor(2);
  expect({ codes, unknown: output.unknown, exitCode }).toEqual({ codes: [], unknown: [], exitCode: 0 });
});

it("nor has a host on which everything odd comes together", async () => {
  const odd = together(oddHosts);
  await stage.run(2, odd.make);
  try {
    const { output, codes } = await stage.doctor(2);
    expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual([]);
  } finally {
    await stage.run(2, odd.undo);
  }
});

describe("causes", () => {
  it.each(troubles.filter(({ isLong }) => isLong !== true).map((trouble) => [trouble.code, trouble] as const))(
    "%s",
    (_, trouble) => stage.expectNamed(trouble),
  );
});

describe("without an agent", () => {
  beforeAll(async () => {
    const files = () => readdir(`${stage.agents[1]?.directory}/state`);
    await until(async () => (await files()).some((file) => file.includes(".peers.")), { what: "remembered peers" });
    await stage.agents[1]?.kill9();
  });

  it("a host in order has no finding, and it is said that no agent answers", async () => {
    const { output, codes, exitCode } = await stage.doctor(2);
    expect({ codes, unknown: output.unknown, agent: output.agent, exitCode }).toEqual({
      ...{ codes: [], unknown: [], agent: "absent", exitCode: 0 },
    });
  });

  it("the lease of another host in the store", async () => {
    const { etcd } = stage.scene;
    const { key, value } = await stage.scene.leaseOf("192.168.50.12");
    await etcd.put(key, value.replace("192.168.50.12", "192.168.50.99"));
    const { codes } = await stage.doctor(2);
    expect(codes).toEqual(["lease-lost"]);
    await etcd.put(key, value);
  });

  it("a store that does not answer", async () => {
    const { codes, output } = await stage.doctor(2, "--etcd-endpoints=http://192.168.50.1:9");
    expect(codes).toEqual(["store-unreachable"]);
    expect(output.findings[0]?.evidence[0]?.value).toMatch(/http:\/\/192\.168\.50\.1:9.*no connection/);
  });

  it.each(troublesWithoutAgent.map((trouble) => [trouble.code, trouble] as const))("%s", (_, trouble) =>
    stage.expectNamed(trouble),
  );
});
