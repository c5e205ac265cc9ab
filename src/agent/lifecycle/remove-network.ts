// Takes a network off this host that is no longer served: devices, routes, rules, subnet file. Its lease stays in the store,
// and what is remembered of it stays, so that it gets the same subnet and identity when it comes back.
import { rmSync } from "node:fs";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { FlannelError } from "../../errors.ts";
import { removeRules } from "../../firewall/remove-rules.ts";
import { ruleSuffix } from "../../firewall/rule-suffix.ts";
import { cleanUpHost } from "../../host/without-agent.ts";
import { attachHoldFile } from "../../lease/subnet-env.ts";
import type { StoreIdentity } from "../../store/network-identity.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { DeviceClaims } from "../state/device-claims.ts";
import { cleanUpBackends, rememberedScope } from "../state/remembered-scope.ts";
import { WarmState } from "../state/warm-state.ts";

export interface RemoveNetworkOptions {
  /** Of the network, which nobody serves and whose lock the caller holds. */
  readonly options: AgentOptions;
  readonly identity: StoreIdentity;
  readonly backends: BackendRegistry;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** What was removed, as lines. What another agent keeps is left alone. Throws `KERNEL_BUSY` when something remains. */
export async function removeNetwork(parts: RemoveNetworkOptions): Promise<readonly string[]> {
  const { options, identity, backends, logger, signal } = parts;
  const { stateDirectory: directory, subnetFile } = options;
  const { network, leaseCodec } = identity;
  const warmState = new WarmState({ directory, subnetFile, networkId: network.id, leaseCodec, backends });
  const states = warmState.all();
  const { devices, networks, tables } = rememberedScope(states, backends);
  for (const file of [subnetFile, attachHoldFile(subnetFile)]) rmSync(file, { force: true });
  if (states.length === 0) return [];
  using claims = DeviceClaims.take([], backends.deviceKeys);
  const own = devices.filter((device) => claims.tryAdd(device));
  const ofBackends = await cleanUpBackends(warmState, backends, { isDryRun: false, signal });
  const host = await cleanUpHost({ devices: own, networks, tables }, { isDryRun: false, logger, signal });
  const rules = await removeRules({ suffix: ruleSuffix(network), networks, isDryRun: false });
  const [failure] = [...ofBackends.flatMap(({ failures }) => failures), ...host.failures, ...rules.failures];
  if (failure !== undefined) {
    throw new FlannelError("KERNEL_BUSY", `cannot remove ${failure.object}: ${failure.error}`, { retryable: true });
  }
  return [...ofBackends.flatMap(({ removed }) => removed), ...host.removed, ...rules.removed];
}
