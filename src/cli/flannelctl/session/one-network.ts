// What `--network` makes of a command: one of several networks of this host, or all of them.
import { join, posix } from "node:path";
import type { Status } from "../../../agent/control/control-protocol.ts";
import { FlannelError } from "../../../errors.ts";
import type { GlobalOptions } from "./invocation.ts";

/** Throws `USAGE` where the agent of this host serves several networks and none is named. */
export function requireOneNetwork({ several }: Pick<GlobalOptions, "several">): void {
  if (several === undefined) return;
  throw new FlannelError("USAGE", "the agent of this host serves several networks: name one with --network");
}

/** The options as they would be with `--network`. Files and keys are those of that network. */
export function optionsOfNetwork(options: GlobalOptions, network: string): GlobalOptions {
  const { several, ...rest } = options;
  if (several === undefined) return options;
  const { subnetDirectory, prefix } = several;
  return {
    ...rest,
    network,
    subnetFile: join(subnetDirectory, `${network}.env`),
    etcd: { ...options.etcd, prefix: posix.join(prefix, network) },
  };
}

/** Of what an agent answered, the part about the network that is named; all of it when none is. Throws `USAGE`. */
export function ofNamedNetwork<T extends { readonly networks: readonly { readonly name: string }[] }>(
  answer: T,
  { network }: Pick<GlobalOptions, "network">,
): T {
  if (network === undefined) return answer;
  const networks = answer.networks.filter(({ name }) => name === network);
  if (networks.length > 0) return { ...answer, networks };
  const names = answer.networks.map(({ name }) => name).join(", ") || "none";
  throw new FlannelError("USAGE", `the agent has nothing to tell of a network ${network}; it serves: ${names}`);
}

/** As `ofNamedNetwork`; state and reasons are those of the network that is named. */
export function statusOfNamedNetwork(status: Status, options: Pick<GlobalOptions, "network">): Status {
  const named = ofNamedNetwork(status, options);
  const [network] = named.networks;
  if (options.network === undefined || network?.state === undefined) return named;
  const { state, reasons = [], stateChangedAt = status.stateChangedAt, pendingState } = network;
  const { pendingState: _, ...rest } = named;
  return { ...rest, state, stateChangedAt, reasons, ...(pendingState !== undefined && { pendingState }) };
}
