// Which rules dropped test packets, by what nf_tables told of them: the rule in words, and which packet it was.
import { tableFamily } from "../../../firewall/hook-chain.ts";
import { RuleTexts } from "../../../firewall/rule-texts.ts";
import type { Address } from "../../../ip/address.ts";
import type { TraceNote } from "../../../netlink/nftables/trace-messages.ts";
import { endsOf } from "./wire.ts";

export interface RuleDrop {
  /** `ip filter FORWARD`. */
  readonly chain: string;
  /** As its tool prints it; missing: the policy of the chain. */
  readonly rule?: string;
  readonly packet: "request" | "reply";
  /** It is the tunnel's packet that is dropped, not the one inside. */
  readonly isOfTunnel: boolean;
  readonly count: number;
}

const MAX_DROPS = 16;

export class RuleDrops {
  readonly #target: Address;
  readonly #outside: Address | undefined;
  readonly #texts = new RuleTexts();

  constructor(target: Address, outside: Address | undefined) {
    this.#target = target;
    this.#outside = outside;
  }

  /** In the order in which they were reported. */
  async of(notes: readonly TraceNote[]): Promise<RuleDrop[]> {
    const packets = new Map<number, Pick<RuleDrop, "packet" | "isOfTunnel">>();
    for (const { id, ipHeader } of notes) {
      const packet = ipHeader === undefined ? undefined : this.#packetOf(ipHeader);
      if (packet !== undefined && !packets.has(id)) packets.set(id, packet);
    }
    const found = new Map<
      string,
      { readonly note: TraceNote; readonly of: Pick<RuleDrop, "packet" | "isOfTunnel">; count: number }
    >();
    for (const note of notes) {
      const of = packets.get(note.id);
      if (!note.isDrop || of === undefined) continue;
      const key = [note.family, note.table, note.chain, note.handle, of.packet, of.isOfTunnel].join(" ");
      const known = found.get(key);
      if (known !== undefined) known.count++;
      else if (found.size < MAX_DROPS) found.set(key, { note, of, count: 1 });
    }
    const drops: RuleDrop[] = [];
    for (const { note, of, count } of found.values()) drops.push({ ...(await this.#describe(note)), ...of, count });
    return drops;
  }

  #packetOf(ipHeader: Uint8Array): Pick<RuleDrop, "packet" | "isOfTunnel"> | undefined {
    const ends = endsOf(ipHeader);
    if (ends === undefined) return undefined;
    const { source, destination } = ends;
    if (destination === this.#target) return { packet: "request", isOfTunnel: false };
    if (source === this.#target) return { packet: "reply", isOfTunnel: false };
    if (destination === this.#outside) return { packet: "request", isOfTunnel: true };
    return source === this.#outside ? { packet: "reply", isOfTunnel: true } : undefined;
  }

  async #describe({ family, table, chain, handle }: TraceNote): Promise<Pick<RuleDrop, "chain" | "rule">> {
    const name = tableFamily(family) ?? "inet";
    const text = `${name} ${table} ${chain}`;
    if (handle === undefined) return { chain: text };
    return { chain: text, rule: await this.#texts.textOf({ family: name, table }, chain, { handle }) };
  }
}
