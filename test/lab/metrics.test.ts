// What Prometheus gets from an agent with `--metrics-addr`: true values, in a form that Prometheus' own checker accepts.
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { prometheusProgram, promtool } from "../../lab/promtool.ts";
import { until } from "../../lab/wait.ts";
import { agentMetrics } from "../../src/telemetry/metrics/agent-metrics.ts";
import type { MetricDefinition } from "../../src/telemetry/metrics/definition.ts";
import { metricDefinitions } from "../../src/telemetry/metrics/definitions.ts";

const PORT = 9101;
let cluster: Cluster;

beforeAll(async () => {
  cluster = await Cluster.start({
    hosts: 2,
    config: { Network: "10.5.0.0/16", Backend: { Type: "udp" } },
    args: [`--metrics-addr=${PORT}`, "--metrics-per-peer", "--ip-masq"],
  });
  await untilAllPing(cluster.pods);
});
afterAll(() => cluster[Symbol.asyncDispose]());

const get = (number: number, address = "127.0.0.1") =>
  cluster.lan.host(number).namespace.run(["curl", "-sS", "--max-time", "20", `http://${address}:${PORT}/metrics`]);

/** The samples of a scrape, by name and labels. */
async function scrape(number: number): Promise<ReadonlyMap<string, number>> {
  const lines = (await get(number)).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const end = line.lastIndexOf(" ");
      return [
        line
          .slice(0, end)
          .replace(/network="[^"]*",?/, "")
          .replace("{}", ""),
        Number(line.slice(end + 1)),
      ];
    }),
  );
}

const familiesOf = (text: string) =>
  [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = "", type]) => [name, type] as const);

/** There on a busy machine alone, where a probe is late. */
const byLoss = new Set([
  "flannel_probe_lost_total",
  "flannel_probe_late_total",
  "flannel_probe_rounds_discarded_total",
]);

it("is accepted by promtool, family by family as registered", async () => {
  const missingIn = (text: string) => {
    const found = new Set(familiesOf(text).map(([name]) => name));
    return Object.keys(metricDefinitions).filter((name) => !found.has(name) && !byLoss.has(name));
  };
  const isProbed = (name: string) => /probe|path_mtu|_peer_(?:up|rtt|loss)/.test(name);
  // The first probes are on their way.
  const text = await until(
    async () => {
      const now = await get(1);
      if (missingIn(now).some(isProbed)) throw new Error(missingIn(now).filter(isProbed).join());
      return now;
    },
    { what: "all that probes tell" },
  );
  expect(await promtool(["check", "metrics"], text)).toBe("");
  expect(familiesOf(text).filter(([name]) => !(name in metricDefinitions))).toEqual([]);
  expect(familiesOf(text).filter(([name, type]) => Reflect.get(metricDefinitions, name)?.type !== type)).toEqual([]);
  // The others have nothing to tell on two healthy hosts without TLS, cloud and CNI.
  expect(missingIn(text).sort()).toEqual([
    "flannel_certificate_expires_timestamp_seconds",
    "flannel_cloud_looks_total",
    "flannel_cloud_repairs_total",
    "flannel_cloud_table_routes",
    "flannel_cloud_tables_full",
    "flannel_cloud_tables_in_place",
    "flannel_cni_add_errors_total",
    "flannel_cni_adds_total",
    "flannel_cni_attachments",
    "flannel_cni_dels_total",
    "flannel_findings",
    "flannel_kernel_overflows_total",
    "flannel_lease_reacquisitions_total",
    "flannel_lease_renewals_total",
    "flannel_peer_last_handshake_timestamp_seconds",
    "flannel_reasons",
    "flannel_repairs_total",
    "flannel_store_disconnections_total",
    "flannel_store_request_errors_total",
  ]);
});

const monitoring = fileURLToPath(new URL("../../deploy/monitoring", import.meta.url));

it("has alert rules that promtool accepts, each of which comes when it has to and not before", async () => {
  expect(await promtool(["check", "rules", `${monitoring}/alerts.yml`])).toContain("SUCCESS");
  expect(await promtool(["test", "rules", `${monitoring}/alerts.test.yml`])).toContain("SUCCESS");
  const names = (file: string) =>
    new Set(
      [...readFileSync(`${monitoring}/${file}`, "utf8").matchAll(/alert(?:name)?: (\w+)/g)].map(([, name]) => name),
    );
  expect(names("alerts.test.yml")).toEqual(names("alerts.yml"));
});

/** Every `expr` of the dashboard, as Grafana would send it. */
function dashboardQueries(): string[] {
  const text = readFileSync(`${monitoring}/grafana-dashboard.json`, "utf8");
  const found: string[] = [];
  JSON.parse(text, (key, value: unknown) => {
    if (key === "expr") found.push(String(value));
    return value;
  });
  return found.map((expr) => expr.replaceAll("$__rate_interval", "5m").replaceAll(/\$(network|instance)/g, ".*"));
}

it("has a dashboard and rules that ask for metrics and labels of this agent, in PromQL", async () => {
  const queries = dashboardQueries();
  expect(queries.length).toBeGreaterThan(30);
  const rules = queries.map((expr, index) => `  - {record: "q:${index}", expr: ${JSON.stringify(expr)}}`);
  const file = `${cluster.lan.host(1).runDirectory}/queries.yml`;
  await writeFile(file, `groups:\n- name: q\n  rules:\n${rules.join("\n")}\n`);
  expect(await promtool(["check", "rules", file])).toContain("SUCCESS");
  const given = new Set(["up", ...Object.keys(metricDefinitions)]);
  const byScrape = ["instance", "job", "le"];
  for (const query of [...queries, readFileSync(`${monitoring}/alerts.yml`, "utf8")]) {
    for (const [name = ""] of query.matchAll(/\b(?:flannel|process)_[a-z_]+/g)) {
      expect(given, name).toContain(name.replace(/_(bucket|sum|count)$/, ""));
    }
    for (const [, name = "", selectors = ""] of query.matchAll(/\b((?:flannel|process)_[a-z_]+)\{([^}]*)\}/g)) {
      const definition: MetricDefinition = Reflect.get(metricDefinitions, name.replace(/_bucket$/, ""));
      const isOfNetwork = !Object.hasOwn(agentMetrics, name);
      const labels = [...byScrape, ...definition.labels, ...(isOfNetwork ? ["network"] : [])];
      for (const [, label = ""] of selectors.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) expect(labels, name).toContain(label);
    }
  }
});

/** These ask for what fails, restarts, or has TLS: two healthy hosts have none of it. */
const quietQuery =
  /flannel_(reasons|findings|repairs|kernel_overflows|store_request_errors|store_disconnections|certificate|udp_dropped|events)|changes\(process_start/;

it("gives a real Prometheus what each query of the dashboard asks for, and no alert to raise", async () => {
  const { namespace, runDirectory } = cluster.lan.host(1);
  const directory = `${runDirectory}/prometheus`;
  const scrapes = `scrape_configs: [{job_name: flannel, scrape_interval: 1s, static_configs: [{targets: ["127.0.0.1:${PORT}"]}]}]`;
  await mkdir(directory);
  const file = `${directory}/prometheus.yml`;
  await writeFile(file, `global: {evaluation_interval: 1s}\nrule_files: ["${monitoring}/alerts.yml"]\n${scrapes}\n`);
  const argv = [
    `--config.file=${file}`,
    `--storage.tsdb.path=${directory}/data`,
    "--web.listen-address=127.0.0.1:9090",
  ];
  const server = namespace.spawn([await prometheusProgram("prometheus"), ...argv], { stdio: "ignore" });
  try {
    const ask = async (path: string, query = ""): Promise<{ readonly data: unknown }> => {
      const words = [
        "curl",
        "-sS",
        "--get",
        "--data-urlencode",
        `query=${query}`,
        `http://127.0.0.1:9090/api/v1/${path}`,
      ];
      const answer = JSON.parse(await namespace.run(words)) as { status: string; data: unknown; error?: string };
      if (answer.status !== "success") throw new Error(`${query}: ${answer.error}`);
      return answer;
    };
    const samples = async (query: string) =>
      (await ask("query", query)).data as { readonly result: readonly unknown[] };
    const scraped = async () => (await samples("count_over_time(flannel_ready[5m]) > 4")).result.length > 0;
    await until(scraped, { what: "some scrapes" });
    const empty: string[] = [];
    for (const query of dashboardQueries()) if ((await samples(query)).result.length === 0) empty.push(query);
    expect(empty.filter((query) => !quietQuery.test(query))).toEqual([]);
    // The list has pending alerts, too: what holds, but not for as long yet as its rule wants, so that nobody is called. One probe
    // that is late on a busy machine makes the one for losses pending for a quarter of an hour; nothing else may be.
    type Alert = { readonly state: string; readonly labels: { readonly alertname: string } };
    const { alerts } = (await ask("alerts")).data as { readonly alerts: readonly Alert[] };
    expect(alerts.filter(({ state, labels }) => state === "firing" || labels.alertname !== "FlannelLoss")).toEqual([]);
  } finally {
    server.kill("SIGKILL");
  }
});

it("tells the truth", async () => {
  const samples = await scrape(1);
  const { key = "" } = (await cluster.agent(2).status()).lease ?? {};
  const nowSeconds = Date.now() / 1_000;
  expect(samples.get("flannel_ready")).toBe(1);
  expect(samples.get('flannel_state{state="ready"}')).toBe(1);
  expect(samples.get('flannel_backend_info{backend="udp"}')).toBe(1);
  expect(samples.get("flannel_peers_desired")).toBe(1);
  expect(samples.get("flannel_peers_programmed")).toBe(1);
  expect(samples.get("flannel_convergence_pending")).toBe(0);
  expect(samples.get("flannel_convergence_seconds_count")).toBeGreaterThan(0);
  expect(samples.get("flannel_mtu_bytes")).toBe(1472);
  expect(samples.get("process_start_time_seconds")).toBeLessThan(nowSeconds);
  expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e7);
  expect(samples.get("flannel_store_last_answer_timestamp_seconds")).toBeGreaterThan(nowSeconds - 300);
  expect(samples.get('flannel_store_request_duration_seconds_count{operation="acquire"}')).toBe(1);
  expect(samples.get(`flannel_peer_transmit_bytes_total{peer="${key}"}`)).toBeGreaterThan(0);
  expect([...samples.keys()].filter((name) => name.startsWith("flannel_firewall_mode{")).length).toBe(4);
});

it("measures how long a changed lease took into the kernel, and forgets a peer that is gone", async () => {
  const converged = async () => (await scrape(1)).get("flannel_convergence_seconds_count") ?? 0;
  const before = await converged();
  const value = JSON.stringify({ PublicIP: (cluster.lan.host(2).ipv4 ?? "").replace(/\d+$/, "99") });
  await cluster.etcd.put("/coreos.com/network/subnets/10.5.99.0-24", value);
  await until(async () => (await converged()) === before + 1, { what: "the new peer to be measured" });
  expect([...(await scrape(1)).keys()].join(" ")).toContain('peer="10.5.99.0-24"');
  await cluster.etcd.ctl(["del", "/coreos.com/network/subnets/10.5.99.0-24"]);
  await until(async () => (await converged()) === before + 2, { what: "the deleted peer to be measured" });
  expect([...(await scrape(1)).keys()].join(" ")).not.toContain('peer="10.5.99.0-24"');
  expect((await scrape(1)).get('flannel_lease_changes_total{change="deleted"}')).toBe(1);
});

it("counts a repair with the program that made it necessary", async () => {
  const { namespace } = cluster.lan.host(1);
  await namespace.run(["sh", "-c", "nft list tables; iptables -t nat -F FLANNEL-POSTRTG || nft flush ruleset"]);
  const found = async () => [...(await scrape(1)).keys()].find((name) => name.startsWith("flannel_repairs_total{"));
  await until(async () => (await found()) !== undefined, { what: "the repair to be counted" });
  expect(await found()).toMatch(/kind="rule",action="added",author="(xtables|iptables|nft|unknown)/);
});

it("is on the loopback address alone when a port is all that was given", async () => {
  await expect(get(2, cluster.lan.host(1).ipv4)).rejects.toThrow("Failed to connect");
});

it("carries packets though another program has the port, and serves once it is free", async () => {
  await cluster.agent(2).term();
  const { namespace } = cluster.lan.host(2);
  const blocker = namespace.spawn(["socat", `TCP-LISTEN:${PORT},bind=127.0.0.1,reuseaddr,fork`, "PIPE"], {
    stdio: "ignore",
  });
  try {
    await until(async () => (await namespace.run(["ss", "-ltn"])).includes(`:${PORT} `), {
      what: "the port to be taken",
    });
    const agent = cluster.startAgent(2);
    await agent.untilReady({ peers: 1 });
    expect(await agent.untilEvent("metrics.failed")).toContain("EADDRINUSE");
    await untilAllPing(cluster.pods);
    blocker.kill("SIGKILL");
    await agent.untilEvent("metrics.serving");
    expect((await scrape(2)).get("flannel_ready")).toBe(1);
    expect(agent.events("metrics.failed")).toHaveLength(1);
  } finally {
    blocker.kill("SIGKILL");
  }
});
