// The areas of the test-suite: which files belong to each, and how they are run.
import { execFileSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { root, runVitest, type VitestResult, type VitestRun } from "./vitest-run.ts";

/** Boxes at a time: their waits overlap, more would only make each other late. */
const boxesAtOnce = Math.min(2, availableParallelism());
const boxTimeoutMs = 10 * 60_000;
const plainTimeoutMs = 30 * 60_000;

/** The shipped bundle also runs under these; the tests of it are the unit tests and one lab test. */
const otherNodes = ["22.23.3", "26.10.0"];
const labTestOnOtherNodes = "test/lab/first-network.test.ts";

export interface Area {
  readonly name: string;
  readonly runs: readonly AreaRun[];
  readonly runsAtOnce: number;
}

/** One line of the report. */
export interface AreaRun {
  readonly label: string;
  start(): Promise<VitestResult>;
}

/**
 * All areas in the order in which they are run, each with the files that a filter wants. A filter is the name of an
 * area, or else a part of a path.
 */
export function selectAreas(filters: readonly string[]): Area[] {
  const areas = [
    plainArea("unit", "{src,lab,scripts}/**/*.test.ts", filters),
    plainArea("system", "test/system/**/*.test.ts", filters),
    plainArea("etcd", "test/etcd/**/*.test.ts", filters),
    plainArea("embedded", "test/{embedded/**/*,etcd/{acquire,keys,renew,watch,watch-faults}}.test.ts", filters),
    boxedArea("kernel", filters),
    boxedArea("lab", filters),
    ...otherNodes.map((version) => otherNodeArea(version, filters)),
  ];
  return areas.filter((area) => area.runs.length > 0);
}

const areaNames = ["unit", "system", "etcd", "embedded", "kernel", "lab", ...otherNodes.map(nameOfNode)];

function nameOfNode(version: string): string {
  return `node${version.split(".")[0]}`;
}

function selectFiles(name: string, pattern: string, filters: readonly string[]): string[] {
  const files = globSync(pattern, { cwd: root }).sort();
  if (filters.length === 0 || filters.includes(name)) return files;
  const parts = filters.filter((filter) => !areaNames.includes(filter));
  return files.filter((file) => parts.some((part) => file.includes(part)));
}

function plainArea(name: string, pattern: string, filters: readonly string[]): Area {
  const files = selectFiles(name, pattern, filters);
  const run: VitestRun = { project: name, files, inBox: false, timeoutMs: plainTimeoutMs };
  return { name, runs: files.length === 0 ? [] : [{ label: name, start: () => runVitest(run) }], runsAtOnce: 1 };
}

function boxedArea(name: string, filters: readonly string[]): Area {
  const files = selectFiles(name, `test/${name}/**/*.test.ts`, filters);
  const runs = files.map((file) => ({
    label: file,
    start: () => runVitest({ project: name, files: [file], inBox: true, timeoutMs: boxTimeoutMs }),
  }));
  return { name, runs, runsAtOnce: boxesAtOnce };
}

function otherNodeArea(version: string, filters: readonly string[]): Area {
  const name = nameOfNode(version);
  if (filters.length > 0 && !filters.includes(name)) return { name, runs: [], runsAtOnce: 1 };
  const unitFiles = globSync("{src,lab}/**/*.test.ts", { cwd: root }).sort();
  const unit = async () => {
    const node = installNode(version);
    return runVitest({ project: "unit", files: unitFiles, inBox: false, timeoutMs: plainTimeoutMs, node });
  };
  const lab = async () => {
    const env = { FLANNEL_NODE: installNode(version) };
    return runVitest({ project: "lab", files: [labTestOnOtherNodes], inBox: true, timeoutMs: boxTimeoutMs, env });
  };
  const runs = [
    { label: `unit tests on Node ${version}`, start: unit },
    { label: `${labTestOnOtherNodes}, bundle on Node ${version}`, start: lab },
  ];
  return { name, runs, runsAtOnce: 1 };
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
