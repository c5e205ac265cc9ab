// How many probes of this host to peers that are up get lost at random. Pure.

/** Older ones count half, again and again. */
const HALVE_AT = 4_000;
/** Before that nothing is known. */
const LEAST = 200;

export class LossMeter {
  #sent = 0;
  #lost = 0;

  /** `answered` probes had an answer, `lost` ones before them had none. */
  took(answered: number, lost: number): void {
    this.#sent += answered + lost;
    this.#lost += lost;
    if (this.#sent < HALVE_AT) return;
    this.#sent /= 2;
    this.#lost /= 2;
  }

  /** From 0 to 1. */
  get ratio(): number {
    return this.#sent < LEAST ? 0 : this.#lost / this.#sent;
  }
}
