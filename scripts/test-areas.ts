// The areas of the test-suite: which files belong to each, and how they are run.
import { execFileSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { dirname, join } from "node:path";
import { installMoto } from "../lab/cloud/moto.ts";
import { debianReleases, debianRoot } from "../lab/debian-root.ts";
import { emulatedKernel } from "../lab/emulated-kernel.ts";
import { fetchPrometheus } from "../lab/promtool.ts";
import { buildUpstreamPlugin } from "../lab/runtime/flannel-plugin.ts";
import { buildUpstream } from "../lab/upstream-program.ts";
import { architectures, ownArchitecture } from "../packaging/architecture.ts";
import { fetchImageFiles } from "../packaging/image/image-files.ts";
import { readFuzzScale, SLICES, shortFuzzEnvironment } from "../test/support/fuzz-scale.ts";
import { selectNodeUsers } from "./node-users.ts";
import { type RunResult, root, runSoak, runVitest, type VitestRun } from "./vitest-run.ts";

/** Nothing hangs for ever, and a busy machine is no reason to end a run. */
const boxTimeoutMs = 20 * 60_000;
const plainTimeoutMs = 50 * 60_000;

const soakMinutes = 10;

/** The shipped bundle also runs under these; see `otherNodeRuns`. */
const otherNodes = ["22.23.3", "26.10.0"];
const labTestOnOtherNodes = "test/lab/first-network.test.ts";

/**
 * `npm run test:long` has them, and who names them: tests with a whole kernel for each power failure, and all below a
 * folder `long`.
 */
const longTests = /^test\/(embedded\/power-loss\.test\.ts$|[^/]+\/long\/)/;

/** Needs programs of its own. */
export const conformanceTest = "test/kube/long/conformance.test.ts";

/** It has containerd 2 and crictl. */
export const runtimesTest = "test/kube/long/runtimes.test.ts";

/** Its pods go from our way to upstream's CNI plugin and back. */
export const cniTest = "test/kube/long/cni.test.ts";

/** Runs upstream's flanneld beside ours. */
export const switchOverTest = "test/kube/long/switch-over.test.ts";

/** They make packages or the image; what for needs the network of the machine, which a box has not. */
const packagingTests = /^test\/(kube\/|lab\/(long\/)?(package|image))/;

/** They look at the image and the packages of every architecture. */
const architectureTests = ["test/lab/long/image.test.ts", "test/lab/long/package-contents.test.ts"];

async function preparePackaging(files: readonly string[]): Promise<void> {
  for (const each of files.some((file) => architectureTests.includes(file)) ? architectures : [ownArchitecture()])
    fetchImageFiles(each);
  if (readFuzzScale().count < SLICES) return;
  for (const release of debianReleases) await once(release, () => debianRoot(release));
}

const prepared = new Map<string, Promise<unknown>>();

/** Runs that start side by side would all make what this machine does not have yet. */
async function once(what: string, make: () => Promise<unknown>): Promise<void> {
  const made = prepared.get(what) ?? make();
  prepared.set(what, made);
  try {
    await made;
  } catch (error) {
    // A run that is repeated tries again.
    prepared.delete(what);
    throw error;
  }
}

/** They ask Prometheus' checker, which is fetched from Debian. */
const promtoolTests = /^test\/lab\/metrics\.test\.ts$/;

/** They run against the emulator of AWS, which comes from Python's packages. */
const motoTests = /^test\/cloud\/aws/;

/** They run upstream's flanneld beside ours, with etcd. */
const upstreamTests = /^test\/(kernel\/long\/(ipip-|ipsec-agents-|wireguard-upstream)|lab\/long\/upstream-)/;

/** It compares our CNI plugin with upstream's. */
const pluginTests = /^test\/system\/long\/cni-upstream/;

/** Their kernel comes from Debian's packages. */
const emulatedKernelTests = /^test\/kernel\/long\/(wireguard-|ipsec-apparmor|trace-)/;

/** Their kernel is user-mode-linux: several at once spend most of their time in switches between processes. */
const guestTests = /^test\/kernel\/long\/(ip|doctor-)/;

/** Beside others a guest that is emulated is too slow for its own time limits. */
function placeOf(files: readonly string[]): Pick<AreaRun, "place"> {
  if (files.some((file) => emulatedKernelTests.test(file))) return { place: "alone" };
  return files.some((file) => guestTests.test(file)) ? { place: "guest" } : {};
}

/**
 * What takes long starts first, so that nothing long is left alone at the end. Rough seconds beside three other runs on
 * two cores; waiting counts as well, so what mostly waits stands beside what computes.
 */
const longRuns: ReadonlyMap<string, number> = new Map([
  ["test/lab/long/package.test.ts", 600],
  ["test/lab/long/package-contents.test.ts", 400],
  [conformanceTest, 500],
  ["test/kube/long/set-ups.test.ts", 500],
  ["test/kernel/long/wireguard-upstream.test.ts", 400],
  ["test/kernel/long/ipip-kernel.test.ts", 390],
  ["test/kernel/long/ip6tnl-kernel.test.ts", 380],
  ["test/kernel/long/ipsec-agents-kernel.test.ts", 370],
  ["test/kernel/long/wireguard-agents-kernel.test.ts", 300],
  ["test/kernel/long/wireguard-kernel.test.ts", 220],
  ["test/kernel/long/ipsec-kernel.test.ts", 200],
  ["test/kernel/long/ipsec-apparmor-kernel.test.ts", 200],
  ["test/kernel/long/trace-kernel.test.ts", 200],
  [switchOverTest, 200],
  ["test/lab/doctor.test.ts", 180],
  ["embedded", 170],
  ["test/kube/long/chart.test.ts", 130],
  ["test/lab/probes.test.ts", 125],
  ["etcd", 120],
  ["test/lab/long/image.test.ts", 100],
  ["test/cloud/stand-ins.test.ts", 90],
  ["test/lab/systemd.test.ts", 70],
  ["test/kube/cluster.test.ts", 70],
  ["test/lab/udp.test.ts", 65],
  ["test/lab/path-mtu-repair.test.ts", 62],
  ["test/kube/agent.test.ts", 60],
  ["test/lab/path-mtu.test.ts", 58],
  ["test/lab/cluster-crash.test.ts", 57],
  ["test/lab/restart.test.ts", 55],
  ["unit", 50],
  ["system", 50],
  ["test/lab/upstream.test.ts", 50],
  ["test/cloud/aws-vpc.test.ts", 48],
  ["test/lab/store-faults.test.ts", 47],
  ["test/lab/lease-faults.test.ts", 46],
  ["test/lab/matrix.test.ts", 45],
  ["test/kernel/firewall.test.ts", 42],
  ["test/lab/repair.test.ts", 41],
  ["test/lab/demo.test.ts", 40],
  ["test/lab/external-interface.test.ts", 39],
  ["test/lab/package.test.ts", 38],
  ["test/lab/udp-mixed.test.ts", 37],
  ["test/lab/together.test.ts", 36],
  ["test/lab/trace.test.ts", 35],
  ["test/lab/packet-ways.test.ts", 34],
  ["test/lab/beside-docker.test.ts", 34],
  ["test/lab/agent-state.test.ts", 32],
  ["test/lab/udp-hostile.test.ts", 28],
  ["test/lab/several-networks.test.ts", 27],
  ["test/lab/start-without-store.test.ts", 27],
  ["test/lab/life-cycle.test.ts", 26],
  ["test/lab/store-content.test.ts", 26],
  ["test/kernel/toy-backend/toy-backend.test.ts", 25],
  ["test/kernel/hook-scan.test.ts", 24],
  ["test/lab/udp-offloads.test.ts", 24],
]);

/** Most of it is waiting for disks and certificates: so many processes share its files. */
const embeddedParts = 3;

export interface Selection {
  /** Names of areas and parts of paths; none means everything. */
  readonly filters: readonly string[];
  /** Only tests whose name matches this. */
  readonly testName?: string;
  /** With what takes too long for every day. */
  readonly isLong: boolean;
}

/** One line of the report. */
export interface AreaRun {
  readonly label: string;
  readonly area: string;
  /** Rough, for the order. */
  readonly seconds: number;
  /** `guest`: one of these at a time, beside others; `alone`: with the machine for itself, after all others. */
  readonly place?: "guest" | "alone";
  start(): Promise<RunResult>;
}

type Runs = readonly AreaRun[];

const embeddedFiles = "test/{embedded/**/*,etcd/{acquire,keys,renew,watch,watch-faults}}.test.ts";

/** All that a selection wants, the longest first. */
export function selectRuns(selection: Selection): Runs {
  const runs = [
    ...plainRuns("unit", "{src,lab,scripts,packaging}/**/*.test.ts", selection),
    ...plainRuns("system", "test/system/**/*.test.ts", selection),
    ...plainRuns("etcd", "test/etcd/**/*.test.ts", selection),
    ...plainRuns("embedded", embeddedFiles, selection, embeddedParts),
    ...boxedRuns("kernel", selection),
    ...boxedRuns("lab", selection),
    ...boxedRuns("kube", selection),
    ...boxedRuns("cloud", selection),
    ...otherNodes.flatMap((version) => otherNodeRuns(version, selection)),
    ...soakRuns(selection),
  ];
  return runs.toSorted((a, b) => b.seconds - a.seconds);
}

const areaNames = [
  "unit",
  "system",
  "etcd",
  "embedded",
  "kernel",
  "lab",
  "kube",
  "cloud",
  ...otherNodes.map(nameOfNode),
  "soak",
];

function nameOfNode(version: string): string {
  return `node${version.split(".")[0]}`;
}

function selectFiles(area: string, pattern: string, { filters, isLong }: Selection): string[] {
  const files = globSync(pattern, { cwd: root }).sort();
  const parts = filters.filter((filter) => !areaNames.includes(filter));
  const isNamed = (file: string) => parts.some((part) => file.includes(part));
  const isWhole = filters.length === 0 || filters.includes(area);
  return files.filter((file) => isNamed(file) || (isWhole && (isLong || !longTests.test(file))));
}

function secondsOf(label: string): number {
  return longRuns.get(label) ?? 15;
}

/** The files of an area in one run, or dealt out to several. */
function plainRuns(area: string, pattern: string, selection: Selection, parts = 1): Runs {
  const files = selectFiles(area, pattern, selection);
  const hands = Array.from({ length: parts }, (_, part) => files.filter((_, index) => index % parts === part));
  const dealt = hands.filter((hand) => hand.length > 0);
  return dealt.map((hand, index) => {
    const label = dealt.length === 1 ? area : `${area}, part ${index + 1} of ${dealt.length}`;
    const run = { project: area, files: hand, inBox: false, timeoutMs: plainTimeoutMs };
    return { ...vitestRun(area, label, run, selection), seconds: secondsOf(area) };
  });
}

function boxedRuns(area: string, selection: Selection): Runs {
  const files = selectFiles(area, `test/${area}/**/*.test.ts`, selection);
  return files.map((file) =>
    vitestRun(area, file, { project: area, files: [file], inBox: true, timeoutMs: boxTimeoutMs }, selection),
  );
}

function vitestRun(area: string, label: string, run: VitestRun, { testName }: Selection): AreaRun {
  const start = async () => {
    if (run.files.some((file) => emulatedKernelTests.test(file))) await once("kernel", emulatedKernel);
    if (run.files.some((file) => motoTests.test(file))) await once("moto", installMoto);
    if (run.inBox && run.files.some((file) => packagingTests.test(file))) await preparePackaging(run.files);
    if (run.files.some((file) => upstreamTests.test(file))) await once("upstream", buildUpstream);
    if (run.files.some((file) => pluginTests.test(file)))
      await once("plugin", () => buildUpstreamPlugin(() => undefined));
    if (run.files.some((file) => promtoolTests.test(file))) await once("Prometheus", fetchPrometheus);
    return runVitest({ ...run, ...(testName === undefined ? {} : { testName }) });
  };
  return { label, area, seconds: secondsOf(label), start, ...placeOf(run.files) };
}

/** The unit tests of what Node can change, all of them in a long run; and one lab test of the bundle. */
function otherNodeRuns(version: string, { filters, isLong }: Selection): Runs {
  const area = nameOfNode(version);
  if (filters.length > 0 && !filters.includes(area)) return [];
  const all = globSync("{src,lab}/**/*.test.ts", { cwd: root }).sort();
  const files = isLong ? all : selectNodeUsers(root, all);
  const unit = () => {
    const node = installNode(version);
    const env = shortFuzzEnvironment();
    return runVitest({ project: "unit", files, inBox: false, timeoutMs: plainTimeoutMs, node, env });
  };
  const lab = () => {
    const env = { FLANNEL_NODE: installNode(version) };
    return runVitest({ project: "lab", files: [labTestOnOtherNodes], inBox: true, timeoutMs: boxTimeoutMs, env });
  };
  return [
    { label: `unit tests on Node ${version}`, area, seconds: 40, start: unit },
    { label: `${labTestOnOtherNodes}, bundle on Node ${version}`, area, seconds: 20, start: lab },
  ];
}

/** The udp backend under traffic, as `npm run soak` has it for an hour. */
function soakRuns({ filters, isLong }: Selection): Runs {
  const isWanted = filters.length === 0 ? isLong : filters.includes("soak");
  if (!isWanted) return [];
  const label = `soak of ${soakMinutes} minutes`;
  return [
    { label, area: "soak", seconds: soakMinutes * 60, place: "alone", start: () => runSoak(soakMinutes, boxTimeoutMs) },
  ];
}

/** The Node's path; it is fetched once, with the npm that set-up put beside the running Node. */
function installNode(version: string): string {
  const packageName = `node-linux-${process.arch}`;
  const directory = join(root, ".cache", `node-${version}`);
  const node = join(directory, "node_modules", packageName, "bin/node");
  if (existsSync(node)) return node;
  const npm = join(dirname(process.execPath), "../../npm/bin/npm-cli.js");
  const options = ["--no-save", "--no-package-lock", "--ignore-scripts", "--loglevel=error"];
  const argv = [npm, "install", "--prefix", directory, ...options, `${packageName}@${version}`];
  execFileSync(process.execPath, argv, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  return node;
}
