// How long `flannelctl doctor` takes in all, from the command to its end: beside a running agent with many peers that never answer,
// beside one that stands still, and where none runs any more.
import { fileURLToPath } from "node:url";
import type { LabAgent } from "../lab/agent.ts";
import { type BenchSet, longestFigure, medianFigure } from "./bench-set.ts";
import { writePeers } from "./peers.ts";
import { BenchAgent, createWorld, type World } from "./world.ts";

const PREFIX = "/doctor";
const PEERS = 1_000;
const ATMOST_MS = 3_000;
const flannelctl = fileURLToPath(new URL("../bin/flannelctl", import.meta.url));

export const doctorSet: BenchSet = {
  name: "doctor",
  title: `flannelctl doctor in all, ${PEERS.toLocaleString("en")} peers that do not answer`,
  async run({ rounds, progress }) {
    await using world = await createWorld(1);
    await writePeers(world.etcd.endpoints, PREFIX, PEERS);
    const [running, stopped, gone]: readonly [number[], number[], number[]] = [[], [], []];
    for (let round = 1; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`);
      await using bench = BenchAgent.start(world.lan.host(1), world.etcd, PREFIX);
      const { agent } = bench;
      await agent.untilEvent("agent.ready");
      running.push(await timeDoctor(world, agent));
      agent.signal("SIGSTOP");
      stopped.push(await timeDoctor(world, agent));
      await agent.kill9();
      gone.push(await timeDoctor(world, agent));
    }
    const figures = [
      ["beside a running agent", running],
      ["beside an agent that stands still", stopped],
      ["without an agent", gone],
    ] as const;
    return {
      figures: figures.flatMap(([name, samples]) => [
        medianFigure({ name, unit: "ms" }, samples),
        longestFigure({ name, unit: "ms", atMost: ATMOST_MS }, samples),
      ]),
      notes: [],
    };
  },
};

/** Throws when it could not look at the store. */
async function timeDoctor({ etcd }: World, { host, directory, subnetFile, controlSocket }: LabAgent): Promise<number> {
  const files = [`--subnet-file=${subnetFile}`, `--state-dir=${directory}/state`, `--socket=${controlSocket}`];
  const store = [`--etcd-endpoints=${etcd.endpoints}`, `--etcd-prefix=${PREFIX}`];
  const startedMs = performance.now();
  const { stdout, stderr } = await host.namespace.tryRun([flannelctl, ...files, ...store, "--json", "doctor"]);
  const tookMs = performance.now() - startedMs;
  const { unknown } = JSON.parse(stdout || "{}") as { readonly unknown?: readonly { readonly code: string }[] };
  if (unknown?.every(({ code }) => code !== "store-unreachable") !== true)
    throw new Error(`doctor did not look at the store: ${stdout}${stderr}`);
  return tookMs;
}
