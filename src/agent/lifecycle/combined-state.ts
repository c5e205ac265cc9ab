// The state of an agent with several networks, out of theirs: it forwards for some while others wait. Pure.
import { reason, type StateReason, stateOf, worstFirst } from "./agent-state.ts";

export interface NetworkReasons {
  readonly name: string;
  readonly reasons: readonly StateReason[];
}

/** Not ready only when no network is: a load balancer or a kubelet must not stop what works for what does not. */
export function combinedReasons(networks: readonly NetworkReasons[]): StateReason[] {
  const isAnyAvailable = networks.some(({ reasons }) => stateOf(reasons) !== "notReady");
  return worstFirst(networks.flatMap((network) => reasonsOf(network, isAnyAvailable)));
}

function reasonsOf({ name, reasons }: NetworkReasons, isAnyAvailable: boolean): StateReason[] {
  const named = reasons.map((one) => ({ ...one, message: `network ${name}: ${one.message}` }));
  const against = reasons.filter(({ state }) => state === "notReady");
  if (!isAnyAvailable || against.length === 0) return named;
  const why = against.map(({ message }) => message).join("; ");
  return [
    reason("network-not-ready", `network ${name} is not ready: ${why}`),
    ...named.filter(({ state }) => state === "degraded"),
  ];
}
