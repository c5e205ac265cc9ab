// What `flannelctl doctor` reads of this host once, for all networks that its agent serves: each at the first question.
import { setTimeout as delay } from "node:timers/promises";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { planSchema } from "../../../agent/control/control-protocol.ts";
import type { BridgePort, ContainerNamespace } from "../../../doctor/container-facts.ts";
import { readBridgePorts, readNamespaces, withOwnEnds } from "../../../doctor/gather/containers.ts";
import * as kernel from "../../../doctor/gather/kernel.ts";
import { readNeighbourUse } from "../../../doctor/gather/neighbour-use.ts";
import { readNetworkManager } from "../../../doctor/gather/process.ts";
import { type SavedRules, saveIptables } from "../../../doctor/gather/rule-texts.ts";
import type { HostFacts } from "../../../doctor/host-facts.ts";
import { askAgent } from "../session/control-client.ts";
import type { GlobalOptions } from "../session/invocation.ts";

/** A difference that lasts no longer is a change under way. */
export const SETTLES_MS = 1_000;
const PLAN_WITHIN_MS = 1_500;

type Reader<T> = () => Promise<T>;

export interface HostWide {
  readonly links: Reader<HostFacts["links"]>;
  readonly hostAddresses: Reader<HostFacts["hostAddresses"]>;
  readonly counters: Reader<HostFacts["counters"]>;
  readonly tables: Reader<HostFacts["tables"]>;
  readonly neighbourUse: Reader<HostFacts["neighbourUse"]>;
  readonly lockHolder: Reader<HostFacts["lockHolder"]>;
  readonly savedRules: Reader<readonly SavedRules[]>;
  readonly bridgePorts: Reader<readonly BridgePort[]>;
  readonly namespaces: Reader<readonly ContainerNamespace[]>;
  readonly networkManager: Reader<string | undefined>;
  /** By network: lines of the agent's plan that both of two looks find. */
  readonly planDifferences: Reader<ReadonlyMap<string, readonly string[]>>;
}

/** `limitMs`: of programs that are run. */
export function hostWide({ socketPaths }: GlobalOptions, limitMs: number, signal: AbortSignal): HostWide {
  const plan = async () => {
    const request = { method: "GET", path: controlPaths.plan, schema: planSchema, timeoutMs: PLAN_WITHIN_MS } as const;
    const { networks } = await askAgent(socketPaths, request, signal);
    return new Map(networks.map(({ name, difference }) => [name, difference]));
  };
  const links = lazy(kernel.readLinks);
  return {
    links,
    hostAddresses: lazy(kernel.readHostAddresses),
    counters: lazy(kernel.readCounters),
    tables: lazy(() => Promise.resolve(kernel.readTables())),
    neighbourUse: lazy(() => readNeighbourUse(limitMs)),
    lockHolder: lazy(kernel.readLockHolder),
    savedRules: lazy(() => saveIptables(limitMs)),
    bridgePorts: lazy(() => readBridgePorts(limitMs)),
    namespaces: lazy(async () => {
      const [namespaces, ownLinks] = await Promise.all([readNamespaces(limitMs), links()]);
      return withOwnEnds(namespaces, ownLinks);
    }),
    networkManager: lazy(() => Promise.resolve(readNetworkManager())),
    planDifferences: lazy(async () => {
      const first = await plan();
      if ([...first.values()].every((lines) => lines.length === 0)) return first;
      await delay(SETTLES_MS, undefined, { signal });
      const second = await plan();
      return new Map(
        [...first].map(([name, lines]) => {
          const still = new Set(second.get(name));
          return [name, lines.filter((line) => still.has(line))];
        }),
      );
    }),
  };
}

/** Each call gives the same promise. */
function lazy<T>(make: Reader<T>): Reader<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
