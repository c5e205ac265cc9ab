// Decides when the hooks are scanned: after a change to what the last scan came by, and not before three hundred times as long has
// passed as it took, so that a host whose rules change all the time costs a third of a percent of a core.
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { NfTablesTouch } from "../netlink/nftables/nf-tables.ts";
import type { RuleNotice } from "../netlink/nftables/nf-tables-monitor.ts";
import { type ScanContext, type SinglePacket, testWays, wayOf } from "./hook-packets.ts";
import { type HookScan, scanHooks } from "./hook-scan.ts";
import { saveLegacyRules } from "./legacy-source.ts";
import { type PacketDrop, summarizeDrops } from "./packet-drop.ts";
import { RuleCache } from "./rule-cache.ts";
import type { RuleNames } from "./rule-set.ts";
import { RuleTexts } from "./rule-texts.ts";
import { WorkSlices } from "./work-slices.ts";

const REST_FACTOR = 300;
/** After a change, so that one start of Docker is one scan. */
const MIN_REST_MS = 1_000;
/** Who asks during a rest that is nearly over gets what is true now. */
const MAX_WAIT_MS = 1_500;
/** What changed is seen after that, whatever a scan costs. */
const MAX_REST_MS = 60_000;
/** Of what the kernel does not announce. */
const MAX_AGE_MS = 60_000;

interface Known {
  readonly drops: readonly PacketDrop[];
  readonly context: ScanContext;
  readonly contextText: string;
  readonly peersText: string;
  readonly legacyText: string;
  readonly atMs: number;
}

export interface HookScannerOptions {
  /** See `HookScanOptions`; default false. */
  readonly withNat?: boolean;
  readonly monotonicMs?: () => number;
}

export class HookScanner {
  readonly #names: RuleNames;
  readonly #withNat: boolean;
  readonly #monotonicMs: () => number;
  readonly #cache = new RuleCache();
  readonly #texts = new RuleTexts();
  #known: Known | undefined;
  #isDirty = false;
  #earliestMs = 0;
  #running: Promise<unknown> = Promise.resolve();
  /** The kernel tells of changes. */
  isWatched = false;

  constructor(names: RuleNames, { withNat = false, monotonicMs = () => performance.now() }: HookScannerOptions = {}) {
    this.#names = names;
    this.#withNat = withNat;
    this.#monotonicMs = monotonicMs;
  }

  /** The kernel told of a change. */
  touch(touch: NfTablesTouch, notice: RuleNotice): void {
    if (this.#cache.touch(touch, notice)) this.#isDirty = true;
  }

  /** Changes were perhaps missed. */
  touchAll(): void {
    this.#cache.clear();
    this.#isDirty = true;
  }

  /**
   * What rules of others drop: as of now where that costs nothing, else as of the last scan, whose age is bounded. Throws when
   * rules cannot be read.
   */
  drops(context: ScanContext): Promise<readonly PacketDrop[]> {
    const drops = this.#running.then(() => this.#drops(context));
    this.#running = drops.catch(() => undefined);
    return drops;
  }

  /**
   * What drops one packet, of those of `context` or of any other; empty when nothing does. Reads again: for a person who asks. Throws
   * when rules cannot be read.
   */
  async dropsOf(packet: SinglePacket, context: ScanContext): Promise<readonly PacketDrop[]> {
    const { found } = await this.#try(packet);
    return await summarizeDrops(found, context, this.#texts);
  }

  /** No rule on its way drops it, sends it elsewhere or may do so. Reads again and throws as `dropsOf`. */
  async surelyPasses(packet: SinglePacket): Promise<boolean> {
    const { found, mayDropMore } = await this.#try(packet);
    return found.length === 0 && !mayDropMore;
  }

  async #try(packet: SinglePacket): Promise<HookScan> {
    return await scanHooks([wayOf(packet)], {
      names: this.#names,
      cache: new RuleCache(),
      legacy: await saveLegacyRules(),
      deviceIndex,
      turns: new WorkSlices(),
      withNat: this.#withNat,
    });
  }

  async #drops(context: ScanContext): Promise<readonly PacketDrop[]> {
    const known = this.#known;
    const { contextText, peersText } = textsOf(context, known);
    const nowMs = this.#monotonicMs();
    const isSame = known?.contextText === contextText;
    if (known !== undefined && isSame) {
      const isFresh = nowMs - known.atMs < MAX_AGE_MS;
      if (!this.#isDirty && known.peersText === peersText && isFresh) return known.drops;
      const restMs = this.#earliestMs - nowMs;
      if (restMs > MAX_WAIT_MS) return known.drops;
      if (restMs > 0) await delay(restMs);
    }
    const turns = new WorkSlices();
    const legacy = await saveLegacyRules();
    const legacyText = [...legacy.values()].join("");
    const isUnchanged =
      isSame && this.isWatched && !this.#isDirty && known.peersText === peersText && legacyText === known.legacyText;
    if (known !== undefined && isUnchanged) {
      this.#known = { ...known, context, atMs: nowMs };
      return known.drops;
    }
    if (!isSame || known.peersText !== peersText || !this.isWatched) this.#cache.clear();
    this.#isDirty = false;
    try {
      const { drops, activeMs } = await this.#scan(context, legacy);
      this.#known = { drops, context, contextText, peersText, legacyText, atMs: nowMs };
      this.#earliestMs = this.#monotonicMs() + restAfter(activeMs);
      return drops;
    } catch (error) {
      this.#isDirty = true;
      this.#cache.clear();
      this.#earliestMs = this.#monotonicMs() + restAfter(turns.activeMs());
      throw error;
    }
  }

  async #scan(context: ScanContext, legacy: ReadonlyMap<4 | 6, string>) {
    const turns = new WorkSlices();
    const { found } = await scanHooks(testWays(context), {
      names: this.#names,
      cache: this.#cache,
      legacy,
      deviceIndex,
      turns,
      withNat: this.#withNat,
    });
    const activeMs = turns.activeMs();
    return { drops: await summarizeDrops(found, context, this.#texts), activeMs };
  }
}

function restAfter(activeMs: number): number {
  return Math.min(Math.max(activeMs * REST_FACTOR, MIN_REST_MS), MAX_REST_MS);
}

/** A context is compared as a text; the addresses of thousands of peers only when the array is another one. */
function textsOf(context: ScanContext, known: Known | undefined): Pick<Known, "contextText" | "peersText"> {
  const { outer, ...rest } = context;
  const contextText = JSON.stringify({ ...rest, outer: { ...outer, peers: undefined } });
  const isSamePeers = known !== undefined && known.context.outer?.peers === outer?.peers;
  return { contextText, peersText: isSamePeers ? known.peersText : (outer?.peers ?? []).join(" ") };
}

/** Of this network namespace's devices, as far as /sys is its own. */
function deviceIndex(name: string): number | undefined {
  try {
    return Number(readFileSync(`/sys/class/net/${name.replaceAll("/", "")}/ifindex`, "utf8"));
  } catch {
    return undefined;
  }
}
