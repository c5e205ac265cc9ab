// Gives this host a new identity (a key) while it runs: made and kept on disk, announced, and used as soon as the lease in the
// store says so. Each step goes by what is there, so that one that was broken off is gone on with at the next start.
import { setTimeout as delay } from "node:timers/promises";
import { readWireguardData } from "../../backend/wireguard/wireguard-data.ts";
import { FlannelError } from "../../errors.ts";
import type { Lease, OwnLease } from "../../lease/lease.ts";
import { readDevice } from "../../wireguard/device-control.ts";
import type { Network } from "./network.ts";

/** What of the agent a rotation goes by. */
export interface RotatingAgent {
  readonly network: Network | undefined;
  readonly ownLease: OwnLease | undefined;
  readonly isWarmStart: boolean;
  readonly storeView: { readonly isConnected: boolean };
  readonly table: { readonly missingPeers: number; peers(): readonly Lease[] };
  /** Announces what the host is now, once the state directory has it. Throws when it cannot be kept there. */
  announceDurably(): Promise<void>;
}

export interface Rotation {
  /** As the lease announces it now. */
  readonly publicKey: string;
  /** Keys of leases whose hosts answered to the new identity, with the time from its use to that answer. */
  readonly followed: readonly { readonly key: string; readonly afterMs: number }[];
  /** Of the others: they follow when they hear of the lease, or when there is something to send. */
  readonly pending: readonly string[];
  /** Names of peers of the configuration: they hear of no lease. */
  readonly staticPeers: readonly string[];
}

const LOOK_MS = 50;
/** A store that does not take the lease meanwhile is reported as an error; the agent goes on trying. */
const ANNOUNCED_WITHIN_MS = 15_000;
/** Hosts hear of a lease within milliseconds; the busiest within some seconds. */
const FOLLOWED_WITHIN_MS = 8_000;

/** Throws `CONFIG_INVALID` where nothing can be rotated, `KERNEL_BUSY` while it should not be. */
export async function rotateIdentity(agent: RotatingAgent, force: boolean): Promise<Rotation> {
  const network = readyNetwork(agent, force);
  const undo = network.planFacts.renewIdentity();
  try {
    await agent.announceDurably();
  } catch (error) {
    undo();
    throw error;
  }
  await until(() => network.isIdentityInUse, ANNOUNCED_WITHIN_MS);
  if (!network.isIdentityInUse) {
    const message =
      "the new key is not in use yet, since the store has not taken the lease: the agent goes on trying, also after a restart";
    throw new FlannelError("STORE_UNAVAILABLE", message, { retryable: true });
  }
  const staticPeers = (network.dataPlane()?.staticPeers ?? []).map(({ name }) => name);
  return { publicKey: publicKeyIn(agent), staticPeers, ...(await followers(network, agent.table.peers())) };
}

function publicKeyIn({ ownLease }: RotatingAgent): string {
  const { backendData, backendV6Data } = ownLease?.attributes ?? {};
  const data = readWireguardData(backendData ?? backendV6Data);
  return "publicKey" in data ? data.publicKey : "";
}

function readyNetwork(agent: RotatingAgent, force: boolean): Network {
  const { network, ownLease } = agent;
  if (network === undefined || ownLease === undefined || agent.isWarmStart || !agent.storeView.isConnected) {
    const message = "the store is not connected: no host would hear of the new key, and all would be cut off";
    throw new FlannelError("STORE_UNAVAILABLE", message, { retryable: true });
  }
  network.planFacts.requireRenewable();
  const absent = absentPeers(agent, network);
  if (absent === undefined || force) return network;
  throw new FlannelError("KERNEL_BUSY", `${absent}; they could not follow the new key (--force rotates all the same)`, {
    retryable: true,
  });
}

/** Hosts that are there, as far as known, but would not hear of the key or are not reached now. */
function absentPeers({ table }: RotatingAgent, network: Network): string | undefined {
  if (table.missingPeers > 0) return `the store was replaced, and ${table.missingPeers} peers have not returned to it`;
  if (!network.arePeersProgrammed) return "not all peers are programmed yet";
  const { programmedPeers, plan } = network;
  const failed = plan.plannedPeers - programmedPeers;
  if (failed > 0 || network.hostFailures.some(({ scope }) => scope === "peer")) {
    return `${Math.max(failed, 1)} of ${plan.plannedPeers} peers could not be programmed`;
  }
  const leases = new Set(table.peers().map(({ key }) => key));
  const skipped = plan.skipped.filter(({ key }) => leases.has(key)).length;
  return skipped > 0 ? `${skipped} of ${leases.size} peers are not reached` : undefined;
}

async function followers(network: Network, leases: readonly Lease[]): Promise<Pick<Rotation, "followed" | "pending">> {
  const { settledAtMs } = network.planFacts;
  const followed = new Map<string, number>();
  const planned = () => {
    const skipped = new Set(network.plan.skipped.map(({ key }) => key));
    return leases.filter(({ key }) => !skipped.has(key));
  };
  await until(async () => {
    const handshakes = await handshakesByKey(network);
    for (const { key, attributes } of planned()) {
      const data = readWireguardData(attributes.backendData ?? attributes.backendV6Data);
      const atMs = "publicKey" in data ? (handshakes.get(data.publicKey) ?? 0) : 0;
      if (atMs >= settledAtMs && !followed.has(key)) followed.set(key, atMs - settledAtMs);
    }
    return planned().every(({ key }) => followed.has(key));
  }, FOLLOWED_WITHIN_MS);
  return {
    followed: [...followed].map(([key, afterMs]) => ({ key, afterMs })),
    pending: planned().flatMap(({ key }) => (followed.has(key) ? [] : [key])),
  };
}

/** As the devices tell it now: what the reconciler has seen may be older. */
async function handshakesByKey({ plan, reconciler }: Network): Promise<ReadonlyMap<string, number>> {
  const links = reconciler.observed("link");
  const latest = new Map<string, number>();
  for (const { device } of plan.state.wireguard ?? []) {
    const isOfProgram = links.some(
      ({ name, isUserspaceWireguard }) => name === device && isUserspaceWireguard === true,
    );
    const state = await readDevice(device, isOfProgram ? "userspace" : "kernel").catch(() => undefined);
    for (const { publicKey, lastHandshakeMs = 0 } of state?.peers ?? []) {
      latest.set(publicKey, Math.max(lastHandshakeMs, latest.get(publicKey) ?? 0));
    }
  }
  return latest;
}

async function until(isSo: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await isSo()) && performance.now() < endMs) await delay(LOOK_MS);
}
