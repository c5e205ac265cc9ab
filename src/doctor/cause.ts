// What is registered of each cause of trouble: for the findings, the order in which they are reported, and the docs.

export interface Cause {
  /** What the trouble is, a sentence. */
  readonly meaning: string;
  /** What people notice, a clause. */
  readonly effect: string;
  /** What is looked at, a clause; for the docs. */
  readonly looksAt: string;
  /** What looks alike on a host in order, and is no finding. */
  readonly alike?: string;
  /**
   * Who may end it. `auto`: the running agent does it by itself. `ask`: the remedy is safe to run once an operator has read it.
   * `no`: a rule, object or choice of others, which only the operator can judge.
   */
  readonly fix: "auto" | "ask" | "no";
  /** No packet between containers is lost by it, or not now. */
  readonly isQuiet?: true;
  /** Names of what it brings about: those are not reported beside it as troubles of their own. */
  readonly explains?: readonly string[];
}
