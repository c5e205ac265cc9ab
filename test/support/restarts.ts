// Everything that agents go through in their lives, under pings at 10 ms: killed, restarted, replaced by a later version.
import type { Cluster } from "../../lab/cluster.ts";
import { makeNextVersion } from "../../lab/next-version.ts";
import { ContinuousPing } from "../../lab/probe.ts";

/** The launcher of flanneld that a cluster's hosts start; undefined: the checkout's. For `launch` of `Cluster.start`. */
export class Program {
  flanneld: string | undefined;

  readonly launch = (): { readonly program?: readonly string[] } =>
    this.flanneld === undefined ? {} : { program: [this.flanneld] };
}

export interface RestartReport {
  /** Lost packets, for each address. */
  readonly lost: readonly number[];
  readonly isUpgraded: boolean;
}

/** Of hosts 1 and 2, while the container on host 1 pings the addresses. Without `program` nothing is upgraded. */
export async function restartAllWays(
  cluster: Cluster,
  program: Program | undefined,
  addresses: readonly (string | undefined)[],
): Promise<RestartReport> {
  const peers = cluster.agents.length - 1;
  const { namespace } = cluster.pod(1);
  await using pings = new AsyncDisposableStack();
  const running: ContinuousPing[] = [];
  for (const address of addresses) {
    if (address !== undefined) running.push(pings.use(await ContinuousPing.start(namespace, address)));
  }
  await cluster.agent(1).kill9();
  await cluster.startAgent(1).untilReady({ peers });
  await restart(cluster, 2, peers);
  const isUpgraded = program !== undefined && (await upgrade(cluster, program, peers));
  for (const traffic of running) await traffic.more(10);
  const reports = await Promise.all(running.map((traffic) => traffic.stop()));
  return { lost: reports.map((report) => report.lost.length), isUpgraded };
}

/** And back, as after an upgrade that somebody regrets. True when the later version ran. */
async function upgrade(cluster: Cluster, program: Program, peers: number): Promise<boolean> {
  using next = makeNextVersion();
  program.flanneld = next.flanneld;
  for (const number of [1, 2]) await restart(cluster, number, peers);
  const versions = await Promise.all(
    [1, 2].map(async (number) => (await cluster.agent(number).status()).agent.version),
  );
  program.flanneld = undefined;
  for (const number of [1, 2]) await restart(cluster, number, peers);
  return versions.every((version) => version === next.version);
}

async function restart(cluster: Cluster, number: number, peers: number): Promise<void> {
  await cluster.agent(number).term();
  await cluster.startAgent(number).untilReady({ peers });
}
