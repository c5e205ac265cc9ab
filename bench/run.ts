// `npm run bench`: runs the named sets of measurements (all of them by default) in a box of their own, prints a table
// with targets, and writes every sample to a file on request.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { boxed } from "../lab/box.ts";
import { acquireSet } from "./acquire.ts";
import type { BenchSet, SetResult } from "./bench-set.ts";
import { cniSet } from "./cni.ts";
import { convergenceSet } from "./convergence.ts";
import { dashboardSet } from "./dashboard.ts";
import { doctorSet } from "./doctor.ts";
import { kubeSet } from "./kube.ts";
import { latencySet } from "./latency.ts";
import { describeMachine, loadAverage } from "./machine.ts";
import { memorySet } from "./memory.ts";
import { networksSet } from "./networks.ts";
import { readySet } from "./ready.ts";
import { resultTable } from "./report.ts";
import { rulesSet } from "./rules.ts";
import { startSet } from "./start.ts";
import { storeSet } from "./store.ts";
import { udpSet } from "./udp.ts";
import { wireguardSet } from "./wireguard.ts";

const sets: readonly BenchSet[] = [
  ...[startSet, latencySet, memorySet, acquireSet, readySet, rulesSet, udpSet, storeSet],
  wireguardSet,
  kubeSet,
  cniSet,
  convergenceSet,
  dashboardSet,
  doctorSet,
  networksSet,
];

const usage = `npm run bench -- [SET...] [--rounds N] [--sizes N,N,...] [--json FILE]

Sets, all by default:
${sets.map(({ name, title }) => `  ${name.padEnd(11)} ${title}`).join("\n")}

  --rounds N   rounds of each measurement, 5 by default
  --sizes      numbers of leases for the sets start and convergence
  --json FILE  write every sample there as well
`;

interface Invocation {
  readonly chosen: readonly BenchSet[];
  readonly rounds: number;
  readonly sizes: readonly number[] | undefined;
  readonly jsonFile: string | undefined;
}

/** Throws an error whose message is for the person who typed it. */
function parseInvocation(args: readonly string[]): Invocation | "help" {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "5" },
      sizes: { type: "string" },
      json: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help === true) return "help";
  const unknown = positionals.filter((name) => !sets.some((set) => set.name === name));
  if (unknown.length > 0) throw new Error(`no set is called ${unknown.join(", ")}`);
  return {
    chosen: positionals.length === 0 ? sets : sets.filter((set) => positionals.includes(set.name)),
    rounds: positiveInteger("--rounds", values.rounds),
    sizes: values.sizes?.split(",").map((size) => positiveInteger("--sizes", size)),
    jsonFile: values.json === undefined ? undefined : resolve(values.json),
  };
}

function positiveInteger(option: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Error(`${option}: ${text} is not a whole number from 1`);
}

async function runSets({ chosen, rounds, sizes, jsonFile }: Invocation): Promise<void> {
  const machine = await describeMachine();
  console.log(`${machine}\n`);
  const results: SetResult[] = [];
  for (const set of chosen) {
    const loadBefore = loadAverage();
    const progress = (text: string) => console.error(`${set.name}: ${text}`);
    const { figures, notes } = await set.run({ rounds, sizes, progress });
    const result = { set: set.name, title: set.title, loadBefore, loadAfter: loadAverage(), figures, notes };
    results.push(result);
    console.log(`${resultTable(result)}\n`);
    // After each set: a later one that fails must not cost the figures of the earlier ones.
    if (jsonFile !== undefined)
      writeFileSync(jsonFile, `${JSON.stringify({ machine, rounds, results }, undefined, 1)}\n`);
  }
}

/** Runs this very program again, in a box. */
function runInBox(args: readonly string[]): Promise<number> {
  const [program = "", ...rest] = boxed([process.execPath, fileURLToPath(import.meta.url), ...args]);
  const child = spawn(program, rest, { stdio: "inherit" });
  return new Promise((settle, reject) => {
    child.on("error", reject);
    child.on("close", (code) => settle(code ?? 1));
  });
}

async function main(args: readonly string[]): Promise<number> {
  let invocation: Invocation | "help";
  try {
    invocation = parseInvocation(args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  if (invocation === "help") {
    console.log(usage);
    return 0;
  }
  if (process.env["LAB_BOX"] !== "1") {
    for (const { name, prepare } of invocation.chosen) await prepare?.((text) => console.error(`${name}: ${text}`));
    return runInBox(args);
  }
  await runSets(invocation);
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
