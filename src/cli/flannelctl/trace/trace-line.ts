// One line of a trace: what the kernel says of one station of a packet's way, and what was wanted where that differs. Types.

/** In the order in which a packet comes by them. */
export type Station =
  | "lease"
  | "route"
  | "forward"
  | "return"
  | "neighbour"
  | "fdb"
  | "wireguard"
  | "device"
  | "outside"
  | "mtu"
  | "rules"
  | "container";

export interface TraceLine {
  readonly station: Station;
  /** As the kernel has it. */
  readonly text: string;
  /** `differs`: not as the agent wants it; `bad`: packets get lost by it; `note`: there is nothing to compare with. */
  readonly verdict: "ok" | "differs" | "bad" | "unknown" | "note";
  /** As the agent wants it, where that is something else. */
  readonly desired?: string;
  readonly remedy?: string;
}

export const isTrouble = ({ verdict }: TraceLine): boolean => verdict === "bad" || verdict === "differs";
