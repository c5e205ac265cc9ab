// What the bridge of this host's containers has to fit, out of the agent's parts.
import { prefixesOf } from "../../lease/lease.ts";
import type { Agent } from "./agent.ts";
import type { BridgeWish } from "./container-bridge.ts";

/** Undefined without a lease that counts. */
export function bridgeWish(agent: Agent | undefined): BridgeWish | undefined {
  if (agent?.network === undefined || agent.ownLease === undefined || agent.isWarmStart) return undefined;
  return {
    ownSubnets: prefixesOf(agent.ownLease),
    earlierSubnets: agent.earlierSubnets,
    mtuBytes: agent.network.mtuBytes,
  };
}
