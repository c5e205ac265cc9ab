import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { Metrics } from "./metrics.ts";
import { prometheusText } from "./prometheus-text.ts";

describe("prometheusText", () => {
  it("writes counters, gauges and histograms with help, type and labels", async () => {
    const metrics = new Metrics();
    const recorder = metrics.network("/a");
    metrics.agent.set("flannel_ready", {}, 1);
    recorder.count("flannel_lease_renewals_total", { result: "renewed" }, 2);
    recorder.observe("flannel_reconcile_duration_seconds", {}, 0.002);
    recorder.observe("flannel_reconcile_duration_seconds", {}, 90);
    const lines = (await prometheusText(metrics.snapshot())).split("\n");
    expect(lines).toContain("# HELP flannel_ready 1 while the agent is ready, else 0.");
    expect(lines).toContain("# TYPE flannel_ready gauge");
    expect(lines).toContain("flannel_ready 1");
    expect(lines).toContain("# TYPE flannel_lease_renewals_total counter");
    expect(lines).toContain('flannel_lease_renewals_total{network="/a",result="renewed"} 2');
    expect(lines).toContain("# TYPE flannel_reconcile_duration_seconds histogram");
    expect(lines).toContain('flannel_reconcile_duration_seconds_bucket{network="/a",le="0.001"} 0');
    expect(lines).toContain('flannel_reconcile_duration_seconds_bucket{network="/a",le="60"} 1');
    expect(lines).toContain('flannel_reconcile_duration_seconds_bucket{network="/a",le="+Inf"} 2');
    expect(lines).toContain('flannel_reconcile_duration_seconds_sum{network="/a"} 90.002');
    expect(lines).toContain('flannel_reconcile_duration_seconds_count{network="/a"} 2');
  });

  it("lets no label from outside begin a line, end a value or drive a terminal", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", maxLength: 40 }), async (author) => {
        const metrics = new Metrics();
        metrics.network("/a").count("flannel_repairs_total", { kind: "rule", action: "added", author });
        const [, , ...rest] = (await prometheusText(metrics.snapshot())).trimEnd().split("\n");
        expect(rest).toHaveLength(1);
        const value =
          /^flannel_repairs_total\{network="\/a",kind="rule",action="added",author="((?:[^"\\]|\\["\\n])*)"\} 1$/u;
        expect(rest[0]).toMatch(value);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
        expect(rest[0]).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      }),
      propertyRuns(500),
    );
  });
});
