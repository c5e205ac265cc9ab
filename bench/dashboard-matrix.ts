// The dashboard of a small cluster whose hosts all tell whom they see: what its server keeps of them, and its page. Fed in this process:
// a thousand hosts with certificates would measure these.
import { performance } from "node:perf_hooks";
import type { Peer } from "../src/agent/control/journal-protocol.ts";
import { networkItem, peerItems } from "../src/cli/flannelctl/dashboard/agent-items.ts";
import { Board } from "../src/cli/flannelctl/dashboard/board.ts";
import { DashboardServer } from "../src/cli/flannelctl/dashboard/dashboard-server.ts";
import { planListening } from "../src/cli/flannelctl/dashboard/listen-plan.ts";
import { readPage } from "../src/cli/flannelctl/dashboard/page-file.ts";
import { MAX_SHOWN, Sightings } from "../src/cli/flannelctl/dashboard/sightings.ts";
import type { SeenPeer } from "../src/cli/flannelctl/session/doctor-output.ts";
import { healthyNetwork } from "../test/support/flannelctl.ts";

const { name } = healthyNetwork;
/** As the server looks, and as many hosts as it asks at once. */
const LOOK_EVERY_MS = 2_000;
const TOLD_PER_LOOK = 4;

const keyOf = (host: number) => `10.${64 + (host >> 8)}.${host & 255}.0-24`;

function peerOf({ rttSeconds = 0, ...seen }: SeenPeer): Peer {
  const times = { rttSeconds: { p50: rttSeconds, p99: rttSeconds * 3 } };
  return { ...seen, ...times, subnet: seen.key.replace("-", "/"), backendType: "vxlan", revision: "1000" };
}

export class MatrixWorld implements AsyncDisposable {
  /** How long the server looked at all pairs, each time. */
  readonly looksMs: number[] = [];
  readonly #hosts: readonly { readonly key: string; readonly address: string }[];
  readonly #sightings = new Sightings();
  readonly #board = new Board();
  #server: DashboardServer | undefined;
  #timer: NodeJS.Timeout | undefined;
  #turn = 0;

  private constructor(hosts: number) {
    this.#hosts = Array.from({ length: hosts }, (_, host) => {
      return { key: keyOf(host), address: `192.168.${host >> 6}.${(host & 63) + 1}` };
    });
  }

  /** All hosts have told whom they see. */
  static async open(hosts: number): Promise<MatrixWorld> {
    const world = new MatrixWorld(hosts);
    world.#board.set("network", name, networkItem(healthyNetwork, [], 0));
    world.#board.replace("peer", name, peerItems(world.#seenBy(0).map(peerOf), {}, new Map(), hosts));
    for (let host = 0; host < hosts; host++) world.#tell(host);
    world.#look();
    world.#server = await DashboardServer.open({
      plan: planListening({ listen: "127.0.0.1:0" }),
      page: readPage(),
      board: world.#board,
      onOpened: () => undefined,
      onWatched: () => undefined,
    });
    world.#timer = setInterval(() => world.#goOn(), LOOK_EVERY_MS);
    return world;
  }

  /** Of the cells on the page. */
  get cells(): number {
    return Math.min(this.#hosts.length, MAX_SHOWN) ** 2;
  }

  get link(): string {
    return this.#server?.link ?? "";
  }

  /** Some of those that are shown tell something new. */
  #goOn(): void {
    this.#turn++;
    for (let told = 0; told < TOLD_PER_LOOK; told++) this.#tell((this.#turn * TOLD_PER_LOOK + told) % MAX_SHOWN);
    this.#look();
  }

  #look(): void {
    const startMs = performance.now();
    const { matrix, rows } = this.#sightings.matrix(this.#hosts, keyOf(0));
    this.looksMs.push(performance.now() - startMs);
    this.#board.replace("row", name, rows);
    this.#board.set("matrix", name, matrix);
  }

  #tell(host: number): void {
    const view = { lease: keyOf(host), peers: this.#seenBy(host), morePeers: 0 };
    this.#sightings.put(view, `node-${host}`, Date.now());
  }

  /** The first hosts have trouble with each other, so that these are shown. */
  #seenBy(host: number): SeenPeer[] {
    return this.#hosts.flatMap(({ key }, peer): SeenPeer[] => {
      if (peer === host) return [];
      const isBad = host < MAX_SHOWN && peer < MAX_SHOWN && (host * 7 + peer * 3 + this.#turn) % 10 === 0;
      if (isBad) return [{ key, state: "down", reason: "no probe is answered", lossRatio: 1, mtuBytes: 1450 }];
      const rttSeconds = 0.0003 + ((host * 7 + peer * 13 + this.#turn) % 40) / 50_000;
      return [{ key, state: "up", rttSeconds, lossRatio: 0, mtuBytes: 1450 }];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#server?.[Symbol.asyncDispose]();
  }
}
