// How the packet thread waits: for a moment by looking again and again, then asleep. Waking a sleeping thread on an idle
// core costs more than carrying the packet; an answer to what was just sent often comes before the core has gone to rest.
// In a flood of small packets it naps: more gathers, and who sends need not wake it for each. So it does in a bulk transfer
// beside which requests wait for answers: those programs get the core in between.
import { clockGettime, poll, readInto, schedYield, usleep } from "../sys/libc.ts";
import type { Arena } from "./arena.ts";

export interface WaitDescriptors {
  readonly tun: number;
  /** -1: none. */
  readonly udp4: number;
  readonly udp6: number;
  /** An eventfd: something else than packets. */
  readonly wakeUp: number;
}

const POLLIN = 1;
const POLLOUT = 4;
const POLLFD_BYTES = 8;
const CLOCK_MONOTONIC = 1;
const place = { wakeUp: 0, tun: 1, udp4: 2, udp6: 3 } as const;
const PLACES = 4;
/** Behind the poll descriptors: the eventfd's counter, a struct timespec. */
const counterOffset = PLACES * POLLFD_BYTES;
const timeOffset = counterOffset + 8;

/** As long as a round trip between neighbours takes; longer found nothing more. */
const LOOK_NS = 50_000;
/** After this much at once nobody looks for a while: in a sleep more gathers, and more at once is cheaper. */
const BULK_BYTES = 16 * 1024;
const BULK_PAUSE_NS = 1_000_000;
/** A look takes about a microsecond; when it takes this much another thread needed the core. */
const CONTENDED_NS = 20_000;
/**
 * Who sleeps is woken at once, who yields has to wait for its turn: the longer others kept the core, the longer they are
 * left alone, so that little of our time goes to them that way.
 */
const MOST_PAUSE_NS = 100_000_000;

/** Looking is given up when it finds nothing, and tried again at times. */
const TRUST_MOST = 16;
const TRUST_GAIN = 2;
const RETRY_EVERY = 32;

/** More packets than this, counted over the window, are a flood; requests and answers one by one are far below. */
const FLOOD_PACKETS_PER_SECOND = 100_000;
const FLOOD_WINDOW_NS = 500_000;
/** After a small packet; who asks more seldom waits for more than we could make shorter. */
const ASKED_NS = 20_000_000;
/** About 75 with the timer slack. */
const NAP_US = 20;

export class PacketWait {
  /** What the last wait found. */
  tunIsReady = true;
  udp4IsReady = true;
  udp6IsReady = true;
  readonly #arena: Arena;
  readonly #wakeUp: number;
  #trust = TRUST_MOST;
  #waits = 0;
  #pauseEndNs = 0;
  #windowStartNs = 0;
  #windowStartPackets = 0;
  #carriedBytes = 0;
  #isFlood = false;
  #smallPackets = 0;
  #askedEndNs = 0;

  constructor(arena: Arena, { tun, udp4, udp6, wakeUp }: WaitDescriptors) {
    this.#arena = arena;
    this.#wakeUp = wakeUp;
    // The kernel ignores negative descriptors.
    for (const [at, fd] of [wakeUp, tun, udp4, udp6].entries()) {
      const word = (arena.polls + at * POLLFD_BYTES) >> 2;
      arena.i32[word] = fd;
      arena.i32[word + 1] = POLLIN;
    }
  }

  /**
   * Returns when a packet or the control plane has come. What was carried is counted from the beginning; `smallPackets`
   * is another number whenever an answer may be waited for.
   */
  wait(carriedBytes: number, carriedPackets: number, smallPackets: number): void {
    const now = this.#nowNs();
    const isBulk = carriedBytes - this.#carriedBytes >= BULK_BYTES;
    this.#carriedBytes = carriedBytes;
    this.#noteFlood(now, carriedPackets);
    if (smallPackets !== this.#smallPackets) this.#askedEndNs = now + ASKED_NS;
    this.#smallPackets = smallPackets;
    const naps = isBulk ? now < this.#askedEndNs : this.#isFlood;
    if (naps) usleep(NAP_US);
    // What came is only written when something did, not when a signal ended the wait.
    this.#note((!naps && this.#look(now, isBulk)) || this.#poll(-1));
  }

  #note(isFound: boolean): void {
    this.tunIsReady = isFound && this.#has(place.tun);
    this.udp4IsReady = isFound && this.#has(place.udp4);
    this.udp6IsReady = isFound && this.#has(place.udp6);
    // The counter is read away; what it stands for is in the control words.
    if (isFound && this.#has(place.wakeUp)) {
      const { base, polls } = this.#arena;
      readInto(this.#wakeUp, base + polls + counterOffset, 8);
    }
  }

  /** Returns when `socket`, one of ours, has room, something to receive has come or the time is over. The device waits. */
  waitForRoom(socket: number, timeoutMs: number): void {
    const { i32, polls } = this.#arena;
    const word = (at: number) => (polls + at * POLLFD_BYTES) >> 2;
    const full = i32[word(place.udp4)] === socket ? place.udp4 : place.udp6;
    i32[word(place.tun) + 1] = 0;
    i32[word(full) + 1] = POLLIN | POLLOUT;
    const isFound = this.#poll(timeoutMs);
    i32[word(place.tun) + 1] = POLLIN;
    i32[word(full) + 1] = POLLIN;
    this.#note(isFound);
    this.tunIsReady = true; // nobody has looked
  }

  #noteFlood(now: number, carriedPackets: number): void {
    const elapsedNs = now - this.#windowStartNs;
    if (elapsedNs < FLOOD_WINDOW_NS) return;
    this.#isFlood = (carriedPackets - this.#windowStartPackets) * 1e9 > FLOOD_PACKETS_PER_SECOND * elapsedNs;
    this.#windowStartNs = now;
    this.#windowStartPackets = carriedPackets;
  }

  /** Whether something came while we looked. */
  #look(startNs: number, isBulk: boolean): boolean {
    this.#waits++;
    if (this.#trust === 0 && this.#waits % RETRY_EVERY !== 0) return false;
    let now = startNs;
    if (isBulk) this.#pauseEndNs = Math.max(this.#pauseEndNs, now + BULK_PAUSE_NS);
    if (now < this.#pauseEndNs) return false;
    const end = now + LOOK_NS;
    for (;;) {
      if (this.#poll(0)) {
        this.#trust = Math.min(TRUST_MOST, this.#trust + TRUST_GAIN);
        return true;
      }
      schedYield();
      const before = now;
      now = this.#nowNs();
      const lostNs = now - before;
      if (lostNs > CONTENDED_NS) {
        this.#pauseEndNs = now + Math.min(MOST_PAUSE_NS, (lostNs * lostNs) / CONTENDED_NS);
        return false;
      }
      if (now >= end) break;
    }
    this.#trust = Math.max(0, this.#trust - 1);
    return false;
  }

  #poll(timeoutMs: number): boolean {
    const { base, polls } = this.#arena;
    return poll(base + polls, PLACES, timeoutMs) > 0;
  }

  #has(at: number): boolean {
    return (this.#arena.i32[(this.#arena.polls + at * POLLFD_BYTES + 4) >> 2] ?? 0) >>> 16 !== 0;
  }

  /** Monotonic, exact for centuries, no object made. */
  #nowNs(): number {
    const { base, polls, i32 } = this.#arena;
    const at = polls + timeOffset;
    clockGettime(CLOCK_MONOTONIC, base + at);
    return (i32[at >> 2] ?? 0) * 1e9 + (i32[(at >> 2) + 2] ?? 0);
  }
}
