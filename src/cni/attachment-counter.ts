// Counts how often runtimes attach containers to a network and detach them, and attempts that failed, by the files that they
// write anyway: a result of libcni for each interface, a reservation of host-local for each address. No plugin is asked.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { tryParseAddress } from "../ip/address.ts";
import type { ContainerNetwork } from "./container-network.ts";
import { DirectoryFollower, listNames } from "./directory-follower.ts";

export interface AttachmentCounts {
  attached: number;
  detached: number;
  /** An address was reserved and soon given back, and no result was written in between. */
  failed: number;
}

/** An ADD takes milliseconds. What is given back later was a leftover that was freed. */
const ATTEMPT_MS = 60_000;

const isAddress = (name: string) => tryParseAddress(name) !== undefined;

interface Attempt {
  /** Name of the file of its result, should it succeed; empty when it is unknown. */
  readonly result: string;
  readonly sinceMs: number;
}

export class AttachmentCounter implements Disposable {
  readonly counts: AttachmentCounts = { attached: 0, detached: 0, failed: 0 };
  readonly #network: ContainerNetwork;
  readonly #resultDirectory: string;
  readonly #results: DirectoryFollower;
  readonly #reservations: DirectoryFollower;
  /** By address, as host-local names it; of reservations that came since the start. */
  readonly #attempts = new Map<string, Attempt>();
  /** Results without which an address was given back; a container may have had one of each family. */
  readonly #failed = new Set<string>();
  /** Results that went since the last resync, and before that: what is heard of their addresses may be late. */
  #gone = new Set<string>();
  #goneBefore = new Set<string>();
  /** Of attempts that passed unseen, until they are compared: addresses by family, results. */
  readonly #passed = { ipv4: 0, ipv6: 0, results: 0 };

  constructor(network: ContainerNetwork) {
    this.#network = network;
    this.#resultDirectory = join(network.stateDirectory, "results");
    const { counts } = this;
    let reserved: ReadonlySet<string> | undefined = this.#resultsOfReservations();
    this.#results = new DirectoryFollower(this.#resultDirectory, {
      isWanted: (name) =>
        isResultOf(network.name, name) ||
        reserved?.has(name) === true ||
        this.#isAttempted(name) ||
        // What was followed once is, until it is gone.
        (reserved === undefined && this.#results.hasSeen(name)),
      onAppeared: () => counts.attached++,
      onGone: (name) => {
        counts.detached++;
        this.#gone.add(name);
      },
      onPassed: (name) => {
        counts.attached++;
        counts.detached++;
        this.#passed.results++;
        this.#gone.add(name);
      },
    });
    reserved = undefined;
    this.#reservations = new DirectoryFollower(network.reservations, {
      isWanted: isAddress,
      onAppeared: (address) => this.#begin(address),
      onGone: (address) => this.#end(address),
      onPassed: (address) => this.#passed[familyOf(address)]++,
      // Made empty, and filled then.
      onChanged: (address) => {
        const attempt = this.#attempts.get(address);
        if (attempt?.result === "") this.#attempts.set(address, { ...attempt, result: this.#resultOf(address) });
      },
    });
  }

  /** Interfaces of containers on the network, as far as runtimes remember them. */
  get present(): number {
    return this.#results.names.size;
  }

  /** Addresses in use, of either family. */
  get reserved(): ReadonlySet<string> {
    return this.#reservations.names;
  }

  /** To be called now and then. */
  resync(): void {
    // A DEL frees the address before the result is forgotten.
    this.#reservations.resync();
    this.#results.resync();
    this.#goneBefore = this.#gone;
    this.#gone = new Set();
    const nowMs = performance.now();
    for (const [address, { sinceMs }] of this.#attempts) {
      if (nowMs - sinceMs > ATTEMPT_MS) this.#attempts.delete(address);
    }
    this.#fail(Math.max(0, Math.max(this.#passed.ipv4, this.#passed.ipv6) - this.#passed.results));
    Object.assign(this.#passed, { ipv4: 0, ipv6: 0, results: 0 });
    this.#failed.clear();
  }

  [Symbol.dispose](): void {
    this.#results[Symbol.dispose]();
    this.#reservations[Symbol.dispose]();
  }

  /** Of the containers that have addresses now; those of nerdctl have a dash in their ids. */
  #resultsOfReservations(): Set<string> {
    const addresses = listNames(this.#network.reservations, isAddress) ?? [];
    return new Set(addresses.map((address) => this.#resultOf(address)));
  }

  #begin(address: string): void {
    this.#attempts.set(address, { result: this.#resultOf(address), sinceMs: performance.now() });
  }

  #end(address: string): void {
    const attempt = this.#attempts.get(address);
    this.#attempts.delete(address);
    if (attempt === undefined || performance.now() - attempt.sinceMs > ATTEMPT_MS) return;
    const { result } = attempt;
    // Gone before it could be read.
    if (result === "") this.#passed[familyOf(address)]++;
    else if (!this.#hasSucceeded(result) && !this.#failed.has(result)) {
      this.#failed.add(result);
      this.#fail(1);
    }
  }

  #hasSucceeded(result: string): boolean {
    return this.#results.hasSeen(result) || this.#gone.has(result) || this.#goneBefore.has(result);
  }

  /** Its address was reserved on this network, so that it is of no other with a longer name. */
  #isAttempted(result: string): boolean {
    return this.#attempts.values().some((attempt) => attempt.result === result);
  }

  /** Runtimes that keep no results there know of success in another way. */
  #fail(attempts: number): void {
    if (attempts > 0 && existsSync(this.#resultDirectory)) this.counts.failed += attempts;
  }

  /** libcni names it by network, container and interface. */
  #resultOf(address: string): string {
    try {
      const text = readFileSync(join(this.#network.reservations, address), "utf8");
      const [container = "", interfaceName = ""] = text.trim().split(/\r?\n/);
      return container === "" ? "" : `${this.#network.name}-${container}-${interfaceName}`;
    } catch {
      return "";
    }
  }
}

/**
 * NETWORK-CONTAINERID-IFNAME, where the network's name may have dashes: `cbr0-blue-ID-eth0` is not of `cbr0`. Ids of
 * containerd, CRI-O, podman and docker have no dash (nerdctl's do: see `#resultsOfReservations`), and interface names at most 15 bytes (IFNAMSIZ), less than an id.
 */
function isResultOf(networkName: string, name: string): boolean {
  return name.startsWith(`${networkName}-`) && /^[^-]+-.{1,15}$/.test(name.slice(networkName.length + 1));
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return address.includes(":") ? "ipv6" : "ipv4";
}
