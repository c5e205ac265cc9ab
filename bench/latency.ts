// From a new lease in etcd to the peer's route, neighbour and FDB entry in the kernel of a host that has 1,000 others.
import { fileURLToPath } from "node:url";
import type { BenchSet } from "./bench-set.ts";
import { percentileFigure } from "./bench-set.ts";
import type { ProbeResult } from "./latency-probe.ts";
import { requirePeerObjects } from "./peer-objects.ts";
import { peers, writePeers } from "./peers.ts";
import { BenchAgent, createWorld } from "./world.ts";

const PRESENT_PEERS = 1_000;
const SAMPLES_PER_ROUND = 100;
const prefix = "/latency";
const probe = fileURLToPath(new URL("latency-probe.ts", import.meta.url));

export const latencySet: BenchSet = {
  name: "latency",
  title: "from a lease in etcd to the peer's objects in the kernel, 1,000 peers present",
  async run(context) {
    await using world = await createWorld(1);
    const host = world.lan.host(1);
    await writePeers(world.etcd.endpoints, prefix, PRESENT_PEERS);
    await using agent = BenchAgent.start(host, world.etcd, prefix);
    await agent.msToEvent("agent.ready");
    const results: ProbeResult[] = [];
    for (let round = 1; round <= context.rounds; round++) {
      context.progress(`round ${round} of ${context.rounds}`);
      const argv = [process.execPath, probe, world.etcd.endpoints, prefix, `${PRESENT_PEERS}`, `${SAMPLES_PER_ROUND}`];
      results.push(JSON.parse(await host.namespace.run(argv, { timeoutMs: 300_000 })) as ProbeResult);
    }
    await requirePeerObjects(host.namespace, peers(PRESENT_PEERS));
    const all = (key: keyof ProbeResult) => results.flatMap((result) => result[key]);
    return {
      figures: [
        percentileFigure({ name: "new lease → all objects", unit: "ms", atMost: 5 }, 50, all("addedMs")),
        percentileFigure({ name: "new lease → all objects", unit: "ms", atMost: 50 }, 99, all("addedMs")),
        percentileFigure({ name: "of it: until etcd tells a watcher", unit: "ms" }, 50, all("watchedMs")),
        percentileFigure({ name: "of it: until etcd tells a watcher", unit: "ms" }, 99, all("watchedMs")),
        percentileFigure({ name: "lease deleted → all objects gone", unit: "ms" }, 50, all("removedMs")),
        percentileFigure({ name: "lease deleted → all objects gone", unit: "ms" }, 99, all("removedMs")),
      ],
      notes: ["Times begin before the write is sent; the kernel's own notifications end them."],
    };
  },
};
