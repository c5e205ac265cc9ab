// What attaching a container costs: the delegate alone, the configuration that the agent writes, flannel's plugin as a script,
// and a compiled plugin that does the same. One by one and twenty at once.
import { execFile, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { boxNamespace as box } from "../lab/namespace.ts";
import { parseConfig } from "../src/backend/registry.ts";
import { parsePrefix } from "../src/ip/address.ts";
import { renderCniConflist } from "../src/lease/cni-conflist.ts";
import { type BenchContext, type BenchSet, type Figure, medianFigure, percentile } from "./bench-set.ts";

const TIMES_PER_ROUND = 40;
const AT_ONCE = 20;
const WARM_UP = 2;
const plugins = "/usr/lib/cni";
const directory = "/run/cni-bench";
const compiled = fileURLToPath(new URL("../.cache/compiled-plugin", import.meta.url));
const script = fileURLToPath(new URL("../cni/flannel", import.meta.url));

const ipam = { dataDir: `${directory}/networks` };
const delegate = { hairpinMode: true, isDefaultGateway: true };
const common = { name: "cbr0", cniVersion: "0.3.1" };
const meta = {
  ...common,
  type: "flannel",
  subnetFile: `${directory}/subnet.env`,
  dataDir: `${directory}/flannel`,
  ipam,
  delegate,
};

interface Way {
  readonly name: string;
  readonly program: string;
  readonly configuration: string;
}

const alone: Way = {
  name: "delegate alone",
  program: join(plugins, "bridge"),
  configuration: JSON.stringify({
    ...{ ...common, ...delegate, type: "bridge", mtu: 1450, isGateway: true, ipMasq: false },
    ipam: { ...ipam, type: "host-local", ranges: [[{ subnet: "10.5.7.0/24" }]], routes: [{ dst: "10.5.0.0/16" }] },
  }),
};
const ours: Way = { name: "plugin (sh)", program: script, configuration: JSON.stringify(meta) };
const counterpart: Way = { name: "plugin, compiled", program: compiled, configuration: JSON.stringify(meta) };

/** The first plugin of the list, as a runtime hands it over. */
function conflistWay(): Way {
  const { config } = parseConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const content = { config, subnets: { subnet: parsePrefix("10.5.7.0/24") }, mtuBytes: 1450, ipMasq: true };
  const list = JSON.parse(
    renderCniConflist(JSON.stringify({ ...common, plugins: [{ type: "flannel", delegate, ipam }] }), content),
  );
  return {
    name: "--cni-conf-file",
    program: join(plugins, "bridge"),
    configuration: JSON.stringify({ ...list.plugins[0], ...common }),
  };
}

interface Samples {
  readonly oneMs: number[];
  readonly oneCpuMs: number[];
  readonly allMs: number[];
  readonly allCpuMs: number[];
}

export const cniSet: BenchSet = {
  name: "cni",
  title: "attaching a container (CNI's ADD)",
  async prepare() {
    const source = fileURLToPath(new URL("compiled-plugin/", import.meta.url));
    const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-mod=readonly" };
    const argv = ["build", "-trimpath", "-ldflags", "-s -w", "-o", compiled, "."];
    await promisify(execFile)("go", argv, { cwd: source, env });
  },
  async run(context) {
    const ways = [alone, conflistWay(), ours, counterpart];
    mkdirSync(directory, { recursive: true });
    const lines = [
      "FLANNEL_NETWORK=10.5.0.0/16",
      "FLANNEL_SUBNET=10.5.7.1/24",
      "FLANNEL_MTU=1450",
      "FLANNEL_IPMASQ=true",
    ];
    writeFileSync(`${directory}/subnet.env`, lines.map((line) => `${line}\n`).join(""));
    const ids = Array.from({ length: AT_ONCE }, (_, index) => `bench${index}`);
    await box.ipBatch(ids.map((id) => `netns add ${id}`));
    const samples = await measure(ways, ids, context);
    await box.ipBatch([...ids.map((id) => `netns del ${id}`), "link del cni0"]);
    rmSync(directory, { recursive: true });
    return { figures: figuresOf(ways, samples), notes: [note] };
  },
};

const note =
  "own share: the median of the differences to the delegate alone, measured directly before. CPU: of the processes that were\n" +
  "started, from the kernel's account of ended children, in steps of 10 ms over all calls of a round.";

async function measure(ways: readonly Way[], ids: readonly string[], { rounds, progress }: BenchContext) {
  const samples = new Map<Way, Samples>(ways.map((way) => [way, { oneMs: [], oneCpuMs: [], allMs: [], allCpuMs: [] }]));
  const [first = ""] = ids;
  for (const way of ways) for (let time = 0; time < WARM_UP; time++) await timed(way, [first]);
  for (let round = 1; round <= rounds; round++) {
    progress(`round ${round} of ${rounds}`);
    const cpuMs = new Map<Way, number>();
    for (let time = 0; time < TIMES_PER_ROUND; time++) {
      for (const way of ways) {
        const took = await timed(way, [first]);
        samples.get(way)?.oneMs.push(took.wallMs);
        cpuMs.set(way, (cpuMs.get(way) ?? 0) + took.cpuMs);
      }
    }
    for (const way of ways) {
      samples.get(way)?.oneCpuMs.push((cpuMs.get(way) ?? 0) / TIMES_PER_ROUND);
      const took = await timed(way, ids);
      samples.get(way)?.allMs.push(took.wallMs);
      samples.get(way)?.allCpuMs.push(took.cpuMs);
    }
  }
  return samples;
}

/** ADD for all of them at once, which is timed, then DEL. */
async function timed(way: Way, ids: readonly string[]): Promise<{ readonly wallMs: number; readonly cpuMs: number }> {
  const [cpuBefore, start] = [childrenCpuMs(), performance.now()];
  const results = await Promise.all(ids.map((id) => call(way, "ADD", id)));
  const took = { wallMs: performance.now() - start, cpuMs: childrenCpuMs() - cpuBefore };
  const addresses = new Set(results.map((text) => JSON.parse(text).ips[0].address));
  // A wrong result has no speed.
  if (addresses.size !== ids.length)
    throw new Error(`${way.name}: ${ids.length} containers got ${addresses.size} addresses`);
  await Promise.all(ids.map((id) => call(way, "DEL", id)));
  return took;
}

/** Of all children that have ended, theirs included. */
function childrenCpuMs(): number {
  const fields = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

function call({ program, configuration }: Way, command: string, id: string): Promise<string> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: `/run/netns/${id}`,
    CNI_IFNAME: "eth0",
    CNI_PATH: plugins,
  };
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, ...env } });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.once("error", reject);
  child.once("close", (code) => (code === 0 ? resolve(said) : reject(new Error(`${program} ${command}: ${said}`))));
  child.stdin.end(configuration);
  return promise;
}

function figuresOf(ways: readonly Way[], samples: ReadonlyMap<Way, Samples>): Figure[] {
  const of = (way: Way) => samples.get(way) ?? { oneMs: [], oneCpuMs: [], allMs: [], allCpuMs: [] };
  const shareOf = (way: Way) => of(way).oneMs.map((ms, index) => ms - (of(alone).oneMs[index] ?? Number.NaN));
  const compiledMs = percentile(of(counterpart).allMs, 50);
  return [
    ...ways.map((way) => medianFigure({ name: `${way.name}: one`, unit: "ms" }, of(way).oneMs)),
    ...ways.map((way) => medianFigure({ name: `${way.name}: one, CPU`, unit: "ms" }, of(way).oneCpuMs)),
    medianFigure({ name: `${ours.name}: own share`, unit: "ms", atMost: 5 }, shareOf(ours)),
    medianFigure({ name: `${counterpart.name}: own share`, unit: "ms" }, shareOf(counterpart)),
    ...ways.map((way) => {
      const target = way === ours ? { atMost: Math.round(compiledMs * 1.1) } : {};
      return medianFigure({ name: `${way.name}: ${AT_ONCE} at once`, unit: "ms", ...target }, of(way).allMs);
    }),
    ...ways.map((way) => medianFigure({ name: `${way.name}: ${AT_ONCE} at once, CPU`, unit: "ms" }, of(way).allCpuMs)),
  ];
}
