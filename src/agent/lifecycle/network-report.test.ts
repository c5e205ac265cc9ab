import { expect, test } from "vitest";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Finding } from "../../doctor/finding.ts";
import { Metrics } from "../../telemetry/metrics/metrics.ts";
import type { Agent } from "./agent.ts";
import { NetworkReport } from "./network-report.ts";

const options = { store: "etcd", etcd: { prefix: "/coreos.com/network" } } as unknown as AgentOptions;

function found(evidence: string): readonly Finding[] {
  return [{ name: "forward-drop", severity: "error", evidence, remedy: "" }] as unknown as readonly Finding[];
}

function agent(all: () => Promise<readonly Finding[]>): Agent {
  return { network: { checks: { all } }, dropWatch: { take: () => undefined } } as unknown as Agent;
}

test("a look for an agent that ended meanwhile says nothing of the one that follows", async () => {
  const report = new NetworkReport(options, new Metrics());
  const former = Promise.withResolvers<readonly Finding[]>();
  report.follow(agent(() => former.promise));
  const asked = report.preflight();
  report.follow(agent(() => Promise.resolve(found("of the second"))));
  expect(await report.preflight()).toEqual(found("of the second"));
  former.resolve(found("of the first"));
  expect(await asked).toEqual(found("of the second"));
});
