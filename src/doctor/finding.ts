// The one shape in which problems are reported: by preflight, in the status, by `flannelctl doctor`, at the end of `init` and `join`.
import type { CauseName } from "./causes.ts";
import type { FixStep } from "./fix-step.ts";

export type FindingName = CauseName;

export interface Finding {
  readonly name: FindingName;
  /** `error`: packets are lost, or the agent cannot do its work. `warning`: they may be, or soon will. */
  readonly severity: "warning" | "error";
  /** What was seen, as a clause for a person. */
  readonly evidence: string;
  /** The command or the action that ends it. */
  readonly remedy: string;
  /** What `flannelctl doctor --fix` may run to end it; missing where only a person can judge. */
  readonly fix?: readonly FixStep[];
  /** Of a drop by rules: it concerns single containers alone. */
  readonly isPartial?: true;
}
