// Why kernel objects are written: what the log says of each.

export interface ChangeCause {
  /** One of the journal's causes; see telemetry/journal.ts. */
  readonly cause: "start" | "lease" | "configuration" | "interface" | "probe" | "notification" | "audit";
  /** Of the store, up to which the plan knows the leases. */
  readonly revision?: string;
}
