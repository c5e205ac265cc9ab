// What associations carried: charon counts each one from zero, and restarts at each rekeying; these sums go on. Pure.
import type { Association, ChildAssociation } from "./associations.ts";

type Counted = Pick<ChildAssociation, "sentBytes" | "receivedBytes" | "sentPackets" | "receivedPackets">;

const names = ["sentBytes", "receivedBytes", "sentPackets", "receivedPackets"] as const;

export class Traffic {
  #last = new Map<string, ChildAssociation>();
  /** By connection, of associations that are gone. */
  readonly #sums = new Map<string, Record<keyof Counted, number>>();

  /** All that there are now. The counters of one that is missing are final. */
  follow(associations: readonly Association[]): void {
    const now = new Map<string, ChildAssociation>();
    for (const { connection, id, children } of associations) {
      const sums = this.#sums.get(connection) ?? none();
      this.#sums.set(connection, sums);
      for (const child of children) {
        const key = `${id} ${child.id}`;
        const before = this.#last.get(key);
        // A charon that restarted gives the same numbers again.
        const isSame = before !== undefined && names.every((name) => child[name] >= before[name]);
        for (const name of names) sums[name] += child[name] - (isSame ? before[name] : 0);
        now.set(key, child);
      }
    }
    this.#last = now;
  }

  /** Since the agent knows the connection. */
  of(connection: string): Counted {
    return this.#sums.get(connection) ?? none();
  }

  /** Of all connections, also those that are gone. */
  total(): Counted {
    const total = none();
    for (const sums of this.#sums.values()) for (const name of names) total[name] += sums[name];
    return total;
  }
}

function none(): Record<keyof Counted, number> {
  return { sentBytes: 0, receivedBytes: 0, sentPackets: 0, receivedPackets: 0 };
}
