// Writes the traffic rules beside the pass over the kernel, and knows for which lease they are there.
import type { Firewall } from "../../firewall/firewall.ts";
import type { LeasedSubnets } from "../../lease/lease.ts";
import { type RuleSources, ruleInputs } from "./rule-inputs.ts";

export class RuleWriting {
  readonly #firewall: Firewall;
  readonly #onWritten: () => void;
  #wanted: LeasedSubnets | undefined;
  #written: LeasedSubnets | undefined;

  /** `onWritten`: the rules of another lease are there now, or have failed. */
  constructor(firewall: Firewall, onWritten: () => void) {
    this.#firewall = firewall;
    this.#onWritten = onWritten;
  }

  /** Before the subnet is announced the rules have to be there, but the peers do not need them. */
  write(own: LeasedSubnets, sources: RuleSources): void {
    this.#wanted = own;
    const done = () => {
      if (this.#wanted !== own || this.#written === own) return;
      this.#written = own;
      this.#onWritten();
    };
    this.#firewall.setDesired(ruleInputs(own, sources)).then(done, done);
  }

  isWrittenFor(own: LeasedSubnets): boolean {
    return this.#written === own;
  }
}
