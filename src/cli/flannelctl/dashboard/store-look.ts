// Reads configuration and leases of each network in the store for the dashboard. Where the store does not answer, the leases
// that the agent knows are shown, without a map.
import { backends } from "../../../backend/registry.ts";
import type { LeaseItem, SpaceItem } from "../../../dashboard/messages.ts";
import { describeError } from "../../../errors.ts";
import { tryParsePrefix } from "../../../ip/address.ts";
import { type Lease, prefixesOf } from "../../../lease/lease.ts";
import type { Invocation } from "../session/invocation.ts";
import { optionsOfNetwork } from "../session/one-network.ts";
import { withStore } from "../session/open-store.ts";
import { mapPools } from "./address-map.ts";
import type { AgentLooks } from "./agent-looks.ts";
import type { Board } from "./board.ts";
import type { LookLoop } from "./look-loop.ts";

const EVERY_MS = 60_000;
const MOVE_CHECK_MS = 2_000;
const MAX_LEASES = 5_000;
/** A request to the store for each. */
const MAX_EXPIRIES = 200;

export class StoreLook {
  readonly #invocation: Invocation;
  readonly #board: Board;
  readonly #agent: AgentLooks;
  readonly #leases = new Map<string, readonly LeaseItem[]>();
  #seenMove = "";
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(invocation: Invocation, board: Board, agent: AgentLooks) {
    // The agent logs warnings about options; here each look would repeat them.
    this.#invocation = { ...invocation, terminal: { ...invocation.terminal, writeErr: () => undefined } };
    this.#board = board;
    this.#agent = agent;
  }

  /** By network, as of the last look that succeeded. */
  get leases(): ReadonlyMap<string, readonly LeaseItem[]> {
    return this.#leases;
  }

  get loop(): LookLoop {
    return { source: "store", look: (signal, markRead) => this.#look(signal, markRead) };
  }

  async #look(signal: AbortSignal, markRead: () => void): Promise<number> {
    const { move } = this.#agent;
    if (move === this.#seenMove && performance.now() - this.#lookedAtMs < EVERY_MS) return MOVE_CHECK_MS;
    // After a failure the next look is due, also when the move is the one that was seen before.
    this.#lookedAtMs = Number.NEGATIVE_INFINITY;
    const problems = new Set<string>();
    for (const name of this.#networks()) {
      try {
        const space = await this.#space(name, signal);
        this.#leases.set(name, space.leases);
        this.#board.set("space", name, space);
      } catch (error) {
        if (signal.aborted) throw error;
        const problem = describeError(error);
        problems.add(problem);
        this.#board.set("space", name, this.#fromAgent(name, problem));
      }
    }
    if (problems.size > 0) throw new Error([...problems].slice(0, 3).join("; "));
    this.#seenMove = move;
    this.#lookedAtMs = performance.now();
    markRead();
    return MOVE_CHECK_MS;
  }

  /** As the agent names them; without an agent the one that the options name. */
  #networks(): readonly string[] {
    const { network, etcd, several } = this.#invocation.options;
    const known = this.#agent.status?.networks.map(({ name }) => name);
    if (known !== undefined) return known;
    return network !== undefined ? [network] : several === undefined ? [etcd.prefix] : [];
  }

  async #space(name: string, signal: AbortSignal): Promise<SpaceItem> {
    const options = optionsOfNetwork(this.#invocation.options, name);
    return await withStore({ ...this.#invocation, options, signal }, async (store) => {
      const [leases, document] = await Promise.all([store.list(signal), store.networkConfig(signal)]);
      const registry = options.kubernetes === undefined ? backends : backends.withGivenSubnets();
      const { config } = registry.parseConfig(document.text);
      const expiries =
        leases.length > MAX_EXPIRIES ? new Map<string, number>() : await store.timeToLive(leases, signal);
      const own = this.#ownKey(name);
      const mapped = leases.map((lease) => ({
        ...{ key: lease.key, isReserved: lease.isReservation, isOwn: lease.key === own },
        ...(lease.subnet !== undefined && { subnet: lease.subnet }),
        ...(lease.ipv6Subnet !== undefined && { ipv6Subnet: lease.ipv6Subnet }),
      }));
      return {
        source: "store",
        pools: mapPools(config, mapped),
        leases: leases.slice(0, MAX_LEASES).map((lease) => leaseItem(lease, own, expiries.get(lease.key))),
        moreLeases: Math.max(0, leases.length - MAX_LEASES),
      };
    });
  }

  #ownKey(name: string): string | undefined {
    return this.#agent.status?.networks.find((network) => network.name === name)?.lease?.key;
  }

  #fromAgent(name: string, problem: string): SpaceItem {
    const own = this.#agent.status?.networks.find((network) => network.name === name)?.lease;
    const peers = this.#agent.peers.find((network) => network.name === name)?.peers ?? [];
    const leases: LeaseItem[] = [...(own === undefined ? [] : [own]), ...peers].map((lease) => {
      const host = lease.publicIp ?? lease.publicIpv6;
      return {
        key: lease.key,
        subnets: [lease.subnet, lease.ipv6Subnet]
          .filter((subnet) => subnet !== undefined && isPrefix(subnet))
          .map(String),
        ...(host !== undefined && { host }),
        ...(lease.backendType !== undefined && { backendType: lease.backendType }),
        isReserved: false,
        isOwn: lease.key === own?.key,
      };
    });
    return {
      ...{ source: "agent", pools: [], leases: leases.slice(0, MAX_LEASES) },
      ...{ moreLeases: Math.max(0, leases.length - MAX_LEASES), problem },
    };
  }
}

function isPrefix(text: string): boolean {
  return tryParsePrefix(text) !== undefined;
}

function leaseItem(lease: Lease, own: string | undefined, ttlSeconds: number | undefined): LeaseItem {
  const { publicIp, publicIpv6, backendType } = lease.attributes;
  const host = publicIp ?? publicIpv6;
  return {
    key: lease.key,
    subnets: prefixesOf(lease),
    ...(host !== undefined && { host }),
    ...(backendType !== undefined && { backendType }),
    isReserved: lease.isReservation,
    isOwn: lease.key === own,
    ...(ttlSeconds !== undefined && { expiresAt: new Date(Date.now() + ttlSeconds * 1_000).toISOString() }),
  };
}
