// A process of its own in the agent's network namespace: writes and deletes the lease of one more peer, again and again,
// and takes the time until the kernel reports that peer's route, neighbour and FDB entry. Prints a ProbeResult.
//
//   latency-probe.ts ENDPOINTS PREFIX FIRST-FREE-PEER SAMPLES
import { setTimeout as sleep } from "node:timers/promises";
import { prefixRange } from "../src/etcd-api/key-space.ts";
import { type MonitorMessage, RtnetlinkMonitor } from "../src/netlink/rtnetlink/monitor.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { deleteIf, putIf, readKey } from "../src/store/etcd/operations.ts";
import { StorePast } from "../src/store/etcd/store-past.ts";
import { watchKeys } from "../src/store/etcd/watch-keys.ts";
import { silentLogger } from "../src/telemetry/logger.ts";
import { leaseKey, leaseValue, type Peer, peer } from "./peers.ts";

export interface ProbeResult {
  readonly addedMs: number[];
  readonly watchedMs: number[];
  readonly removedMs: number[];
}

const LOST_AFTER_MS = 10_000;

/** Resolves when the kernel has reported all three objects of `wanted` as new, or as deleted. */
class ObjectWaiter {
  readonly #wanted: Peer;
  readonly #action: MonitorMessage["action"];
  readonly #missing = new Set(["route", "neighbour", "fdb"]);
  readonly #done = Promise.withResolvers<number>();

  constructor(wanted: Peer, action: MonitorMessage["action"]) {
    this.#wanted = wanted;
    this.#action = action;
  }

  /** The moment on the clock of `performance.now()`. */
  get doneAt(): Promise<number> {
    return this.#done.promise;
  }

  see(messages: readonly MonitorMessage[]): void {
    const nowMs = performance.now();
    for (const change of messages) {
      if (change.action === this.#action && isObjectOf(change, this.#wanted)) this.#missing.delete(change.kind);
    }
    if (this.#missing.size === 0) this.#done.resolve(nowMs);
  }
}

function isObjectOf({ kind, message }: MonitorMessage, { subnet, gateway, mac }: Peer): boolean {
  if (kind === "route") return message.destination === subnet;
  if (kind === "neighbour") return message.address === gateway;
  return kind === "fdb" && message.mac === mac;
}

async function main([endpoints = "", prefix = "", firstText = "", samplesText = ""]: readonly string[]): Promise<void> {
  await using connection = await EtcdConnection.open({ endpoints });
  const stop = new AbortController();
  const watch = await Watch.open(connection, `${prefix}/subnets/`, stop.signal);
  let waiter: ObjectWaiter | undefined;
  using _following = new RtnetlinkMonitor().follow({
    kinds: ["route", "neighbour", "fdb"],
    onMessages: (messages) => waiter?.see(messages),
    onOverflow: () => {
      console.error("the probe lost kernel notifications");
      process.exit(1);
    },
    logger: silentLogger,
  });
  const result: ProbeResult = { addedMs: [], watchedMs: [], removedMs: [] };
  for (let sample = 0; sample < Number(samplesText); sample++) {
    const wanted = peer(Number(firstText) + sample);
    const key = `${prefix}/subnets/${leaseKey(wanted)}`;
    waiter = new ObjectWaiter(wanted, "new");
    const watched = watch.next(key);
    const writtenAt = performance.now();
    const put = { key, value: leaseValue(wanted), storeLeaseId: 0n, expectedRevision: 0n, operation: "write a lease" };
    const written = await putIf(connection, put, stop.signal);
    if (!written.isDone) throw new Error(`${key} is there already`);
    result.watchedMs.push((await orLost(watched, `the watcher's event for ${key}`)) - writtenAt);
    result.addedMs.push((await orLost(waiter.doneAt, `objects of ${wanted.subnet}`)) - writtenAt);
    // So that no sample begins in step with a timer of the agent or etcd.
    await sleep(5 + Math.random() * 20);
    waiter = new ObjectWaiter(wanted, "delete");
    const deletedAt = performance.now();
    await deleteIf(connection, { key, expectedRevision: written.revision, operation: "delete a lease" }, stop.signal);
    result.removedMs.push((await orLost(waiter.doneAt, `removal of ${wanted.subnet}`)) - deletedAt);
    await sleep(5 + Math.random() * 20);
  }
  stop.abort();
  process.stdout.write(JSON.stringify(result));
}

/** A watch like the agent's own: tells when etcd delivers a key's event, which is etcd's share of the latency. */
class Watch {
  #waiting: { readonly key: string; readonly resolve: (atMs: number) => void } | undefined;

  static async open(connection: EtcdConnection, directory: string, signal: AbortSignal): Promise<Watch> {
    const watch = new Watch();
    const opened = Promise.withResolvers<void>();
    const { revision, ...facts } = await readKey(connection, directory, "read the store's revision", signal);
    const start = { range: prefixRange(directory), startRevision: revision + 1n, past: new StorePast(facts) };
    const follow = async () => {
      for await (const item of watchKeys(connection, start, signal)) {
        opened.resolve();
        if (item.type === "events") watch.#see(item.events.map(({ kv }) => Buffer.from(kv?.key ?? []).toString()));
      }
    };
    follow().catch(opened.reject);
    await orLost(opened.promise, "the confirmation of a watch");
    return watch;
  }

  next(key: string): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#waiting = { key, resolve };
    return promise;
  }

  #see(keys: readonly string[]): void {
    if (this.#waiting !== undefined && keys.includes(this.#waiting.key)) this.#waiting.resolve(performance.now());
  }
}

async function orLost<T>(promise: Promise<T>, what: string): Promise<T> {
  const timer = new AbortController();
  const lost = sleep(LOST_AFTER_MS, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`lost: ${what}, ${LOST_AFTER_MS} ms after the write`);
  });
  try {
    return await Promise.race([promise, lost]);
  } finally {
    timer.abort();
    lost.catch(() => undefined);
  }
}

await main(process.argv.slice(2));
