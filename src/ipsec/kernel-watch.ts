// Whether the kernel still has the associations that charon made: charon itself does not look, and would go on believing in
// deleted ones until their next rekeying, up to an hour, while packets are dropped.
import { readEspNumbers } from "../netlink/xfrm/xfrm-control.ts";
import { type Association, lostInKernel } from "./associations.ts";

const INTERVAL_MS = 400;
/** A look must not take more than two percent of a processor. */
const SHARE = 50;

export class KernelWatch implements Disposable {
  readonly #onLoss: () => void;
  #expected: readonly Association[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isEnded = false;

  /** `onLoss` is called when one of the expected ones is missing, or was replaced by now: to be looked at with fresh knowledge. */
  constructor(onLoss: () => void) {
    this.#onLoss = onLoss;
  }

  /** What charon told at its last look; none where it encrypts by itself. */
  expect(associations: readonly Association[]): void {
    this.#expected = associations;
    this.#timer ??=
      this.#isEnded || associations.length === 0 ? undefined : setTimeout(() => this.#look(), INTERVAL_MS);
  }

  [Symbol.dispose](): void {
    this.#isEnded = true;
    clearTimeout(this.#timer);
  }

  #look(): void {
    const start = process.cpuUsage();
    readEspNumbers()
      .then((inKernel) => {
        if (!this.#isEnded && lostInKernel(this.#expected, inKernel).length > 0) this.#onLoss();
      })
      // What cannot be read is not gone; the next look follows.
      .catch(() => undefined)
      .finally(() => this.#next(process.cpuUsage(start)));
  }

  /** By processor time: on a busy host the clock goes on while others run. */
  #next({ user, system }: NodeJS.CpuUsage): void {
    this.#timer = undefined;
    const tookMs = (user + system) / 1_000;
    if (this.#isEnded || this.#expected.length === 0) return;
    this.#timer = setTimeout(() => this.#look(), Math.max(INTERVAL_MS, tookMs * SHARE));
  }
}
