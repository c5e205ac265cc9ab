import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { MetricDefinition } from "./definition.ts";
import { metricDefinitions } from "./definitions.ts";
import { Metrics } from "./metrics.ts";

const definitions: [string, MetricDefinition][] = Object.entries(metricDefinitions);
const source = fileURLToPath(new URL("../..", import.meta.url));
const texts = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter(
    (name) =>
      name.endsWith(".ts") && !name.endsWith(".test.ts") && !/telemetry\/metrics\/[a-z]+-metrics\.ts$/.test(name),
  )
  .map((name) => readFileSync(`${source}/${name}`, "utf8"));

describe.each(definitions)("%s", (name, { type, unit, labels, help, ...rest }) => {
  it("is named as Prometheus asks for", () => {
    expect(name).toMatch(/^(flannel|process)(_[a-z]+)+$/);
    expect(name.endsWith("_total")).toBe(type === "counter");
    const base = name.replace(/_total$/, "");
    expect(base.match(/_(seconds|bytes|ratio)$/)?.[1]).toBe(unit);
    expect(base).not.toMatch(/_(ms|milliseconds|minutes|hours|kb|kilobytes|count|sum|bucket)$/);
    for (const label of labels) expect(label).toMatch(/^(?!(le|quantile|network|__.*)$)[a-z_]+$/);
  });

  it("says what it is, and has ascending buckets exactly when a histogram", () => {
    expect(help).toMatch(/^[A-Z0-9].*\.$/);
    const buckets = "buckets" in rest ? rest.buckets : undefined;
    expect(buckets !== undefined).toBe(type === "histogram");
    expect(buckets?.toSorted((a, b) => a - b)).toEqual(buckets);
  });

  it("is recorded somewhere", () => {
    expect(texts.some((text) => text.includes(`"${name}"`))).toBe(true);
  });
});

describe("Metrics", () => {
  const family = (metrics: Metrics, name: string) => metrics.snapshot().find((one) => one.name === name);

  it("tells nothing before something was recorded", () => {
    expect(new Metrics().snapshot()).toEqual([]);
  });

  it("adds to counters, or takes over what another counted, for each network and each set of labels", () => {
    const metrics = new Metrics();
    metrics.network("a").count("flannel_repairs_total", { kind: "route", action: "added", author: "a" });
    metrics.network("a").count("flannel_repairs_total", { author: "a", action: "added", kind: "route" }, 2);
    metrics.network("b").total("flannel_repairs_total", { kind: "route", action: "added", author: "a" }, 7);
    metrics.network("b").total("flannel_repairs_total", { kind: "route", action: "added", author: "a" }, 9);
    expect(family(metrics, "flannel_repairs_total")).toMatchObject({
      type: "counter",
      samples: [
        { labels: { network: "a", kind: "route", action: "added", author: "a" }, value: 3 },
        { labels: { network: "b", kind: "route", action: "added", author: "a" }, value: 9 },
      ],
    });
  });

  it("sets gauges, and takes them away again", () => {
    const metrics = new Metrics();
    const recorder = metrics.network("a");
    recorder.set("flannel_store_last_answer_timestamp_seconds", {}, 1.5);
    recorder.set("flannel_store_last_answer_timestamp_seconds", {}, 2.5);
    expect(family(metrics, "flannel_store_last_answer_timestamp_seconds")).toMatchObject({
      unit: "seconds",
      samples: [{ labels: { network: "a" }, value: 2.5 }],
    });
    recorder.set("flannel_store_last_answer_timestamp_seconds", {}, undefined);
    expect(metrics.snapshot()).toEqual([]);
  });

  it("enters values into the buckets of a histogram, cumulative, the bound included", () => {
    const metrics = new Metrics();
    for (const value of [0.001, 0.002, 0.5, 60])
      metrics.network("a").observe("flannel_reconcile_duration_seconds", {}, value);
    const sample = family(metrics, "flannel_reconcile_duration_seconds")?.samples[0];
    expect(sample).toMatchObject({ value: 60.503, count: 4 });
    expect(sample?.buckets?.map(({ le, count }) => `${le}:${count}`).join(" ")).toBe(
      "0.001:1 0.0025:2 0.005:2 0.01:2 0.025:2 0.05:2 0.1:2 0.25:2 0.5:3 1:3 2.5:3 5:3 10:3 30:3 60:4",
    );
  });

  it("keeps the sets of labels few: what comes beyond is counted together", () => {
    const metrics = new Metrics();
    for (let index = 0; index < 1_000; index++) {
      metrics
        .network("a")
        .count("flannel_repairs_total", { kind: "rule", action: "added", author: `program-${index}` });
    }
    const samples = family(metrics, "flannel_repairs_total")?.samples ?? [];
    expect(samples.length).toBeLessThanOrEqual(101);
    expect(samples.reduce((sum, { value }) => sum + value, 0)).toBe(1_000);
    expect(samples.at(-1)?.labels).toEqual({ network: "a", kind: "other", action: "other", author: "other" });
  });

  it("replaces all series of a metric at once, for one network", () => {
    const metrics = new Metrics();
    const [a, b] = [metrics.network("a"), metrics.network("b")];
    const mode = (name: string) => ({ labels: { mode: name }, value: 1 });
    a.replace("flannel_firewall_mode", [mode("nftables"), mode("none")]);
    b.replace("flannel_firewall_mode", [mode("none")]);
    a.replace("flannel_firewall_mode", [mode("iptables-nft")]);
    const samples = family(metrics, "flannel_firewall_mode")?.samples.map(({ labels }) =>
      Object.values(labels).join(" "),
    );
    expect(samples?.toSorted()).toEqual(["a iptables-nft", "b none"]);
    a.replace("flannel_firewall_mode", []);
    b.replace("flannel_firewall_mode", []);
    expect(metrics.snapshot()).toEqual([]);
  });

  it("records single peers only when asked to, and forgets those that are gone", () => {
    const bytes = (peer: string) => ({ labels: { peer }, value: 7 });
    const record = (metrics: Metrics) => {
      const recorder = metrics.network("a");
      recorder.replace("flannel_peer_receive_bytes_total", [bytes("10.5.1.0-24"), bytes("10.5.2.0-24")]);
      recorder.replace("flannel_peer_receive_bytes_total", [bytes("10.5.2.0-24")]);
      return family(metrics, "flannel_peer_receive_bytes_total")?.samples;
    };
    expect(record(new Metrics())).toBeUndefined();
    expect(record(new Metrics({ isPerPeer: true }))).toEqual([
      { labels: { network: "a", peer: "10.5.2.0-24" }, value: 7 },
    ]);
  });

  it("bounds the series of peers, and says how many it left out", () => {
    const metrics = new Metrics({ isPerPeer: true });
    const peers = Array.from({ length: 10_003 }, (_, index) => ({ labels: { peer: `p${index}` }, value: 1 }));
    metrics.network("a").replace("flannel_peer_receive_bytes_total", peers);
    expect(family(metrics, "flannel_peer_receive_bytes_total")?.samples).toHaveLength(10_000);
    expect([metrics.takeDropped(), metrics.takeDropped()]).toEqual([3, 0]);
  });

  it("does not compile with a wrong name, type or label", () => {
    const recorder = new Metrics().network("a");
    // Never called: the compiler is what is tested.
    const wrong = [
      // @ts-expect-error not registered
      () => recorder.count("flannel_songs_total", {}),
      // @ts-expect-error a gauge
      () => recorder.count("flannel_mtu_bytes", {}),
      // @ts-expect-error without a label
      () => recorder.count("flannel_repairs_total", { kind: "route" }),
      // @ts-expect-error with a label too many
      () => recorder.set("flannel_mtu_bytes", { kind: "route" }, 1),
      // @ts-expect-error of the agent, not of a network
      () => recorder.set("flannel_ready", {}, 1),
      // @ts-expect-error of a network, not of the agent
      () => new Metrics().agent.set("flannel_mtu_bytes", {}, 1),
    ];
    expect(wrong).toHaveLength(6);
  });
});
