// `flannelctl trace` with the backends that any kernel carries: all stations see them, and an outage outside of this host is told apart
// from one on it.
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import { tryRun } from "../../../lab/command.ts";
import { cut } from "../../../lab/faults.ts";
import { until } from "../../../lab/wait.ts";
import type { TraceOutput } from "../../../src/cli/flannelctl/session/trace-output.ts";
import { parseOutput } from "../../support/output-schema.ts";

const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));

async function traced(cluster: Cluster, address: string) {
  const argv = [flannelctl, `--subnet-file=${cluster.agent(1).subnetFile}`, "trace", address, "--json"];
  const { stdout, stderr, exitCode } = await tryRun(cluster.lan.host(1).namespace.command(argv));
  if (stdout === "") throw new Error(`flannelctl trace ended with ${exitCode}: ${stderr}`);
  const [network] = (parseOutput("trace", stdout) as TraceOutput).networks;
  if (network === undefined) throw new Error(stdout);
  return { ...network, exitCode };
}

const direct = ["sent", "left eth0", "answer arrived at eth0", "answer delivered"];
const tunnel = (device: string) => [
  ...["sent", `left ${device}`, "left eth0"],
  ...["answer arrived at eth0", `answer came out of ${device}`, "answer delivered"],
];

it.each([
  ["vxlan", { EnableIPv6: true, IPv6Network: "fd00:5::/48" }, ["route", "neighbour", "fdb"], tunnel("flannel.1")],
  ["host-gw", {}, ["route"], direct],
  ["udp", {}, ["route", "neighbour"], tunnel("flannel0")],
] as const)("%s", async (type, families, stations, hops) => {
  await using cluster = await Cluster.start({
    ...{ hosts: 2, ipv6: "EnableIPv6" in families },
    config: { Network: "10.5.0.0/16", ...families, Backend: { Type: type } },
  });
  const pod = cluster.pod(2);
  await until(async () => (await traced(cluster, pod.ipv4 ?? "")).exitCode === 0, { what: `packets with ${type}` });
  for (const address of [pod.ipv4, pod.ipv6].filter((one) => one !== undefined)) {
    const found = await traced(cluster, address);
    expect(found.lines.filter(({ verdict }) => verdict === "bad" || verdict === "differs")).toEqual([]);
    for (const station of stations) expect(found.lines.map((line) => line.station)).toContain(station);
    expect(found.live?.gaps).toEqual([]);
    if (address === pod.ipv4) {
      const seen = found.live?.hops.map(({ text }) => text.replace(/ (by this host|here).*$/, ""));
      expect(seen).toEqual([...hops]);
    }
    expect(found.live?.hops.every(({ seen, of }) => seen >= of)).toBe(true);
  }
  const undo = await cut(cluster.lan.host(1), cluster.lan.host(2));
  const lost = await traced(cluster, pod.ipv4 ?? "");
  expect(lost).toMatchObject({ exitCode: 1, lost: true });
  expect(lost.verdict).toContain("does not answer outside of the tunnel either");
  await undo();
});
