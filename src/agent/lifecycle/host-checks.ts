// The checks of this host for one network: all of them for a person, and the two that the state depends on.
import type { CheckContext } from "../../doctor/check.ts";
import { forwardPolicy } from "../../doctor/checks/forward-policy.ts";
import type { CheckFinding } from "../../doctor/finding.ts";
import type { HostFacts } from "../../doctor/host-facts.ts";
import { forwardingFindings, Preflight } from "../../doctor/preflight.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";

export interface HostChecksOptions {
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly findForwardDrops: () => Promise<HostFacts["forwardDrops"]>;
  readonly unreadableRules: () => HostFacts["unreadableRules"];
  /** As of now. */
  readonly context: () => CheckContext;
}

export class HostChecks {
  readonly #preflight: Preflight;
  readonly #context: () => CheckContext;

  constructor({ rtnetlink, findForwardDrops, unreadableRules, context }: HostChecksOptions) {
    this.#preflight = new Preflight(rtnetlink, findForwardDrops, unreadableRules);
    this.#context = context;
  }

  /** What stands in the way of packets right now, worst first; throws when the kernel cannot be read. */
  all(): Promise<CheckFinding[]> {
    return this.#preflight.evaluate(this.#context());
  }

  /** Chains of others that drop forwarded packets. */
  forwardDrops(): Promise<CheckFinding[]> {
    return this.#preflight.evaluate(this.#context(), [forwardPolicy]);
  }

  /** Families in use that the kernel does not forward. Reads two files. */
  forwardingOff(): CheckFinding[] {
    return forwardingFindings(this.#context());
  }
}
