// What the extension backend is to have done on this host: which commands, for whom. Plain data, from planner to reconciler.

export interface ExtensionState {
  readonly commands: ExtensionCommands;
  /** Of PostStartupCommand and ShutdownCommand: NETWORK, SUBNET and so on. */
  readonly own: Variables;
  readonly peers: readonly ExtensionPeer[];
}

/** As configured; empty: none. */
export interface ExtensionCommands {
  readonly preStartup: string;
  readonly postStartup: string;
  readonly subnetAdd: string;
  readonly subnetRemove: string;
  readonly shutdown: string;
  /** Given to `sh -c`; otherwise split at white space and run as they are. */
  readonly shell: boolean;
  /** After which a command and all that it started are ended: 1,000 to 3,600,000, default 60,000. */
  readonly timeLimitMs: number;
}

/** Environment variables, besides those of the agent. */
export type Variables = Readonly<Record<string, string>>;

export interface ExtensionPeer {
  /** Of its lease. */
  readonly key: string;
  readonly variables: Variables;
  /** What its PreStartupCommand printed. */
  readonly input: string;
}

export type CommandName =
  | "PreStartupCommand"
  | "PostStartupCommand"
  | "SubnetAddCommand"
  | "SubnetRemoveCommand"
  | "ShutdownCommand";
