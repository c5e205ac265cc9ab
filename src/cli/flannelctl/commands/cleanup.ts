// `flannelctl cleanup`: takes away from this host what flannel put there. Never while the agent runs.
import { existsSync, rmSync } from "node:fs";
import { DeviceClaims } from "../../../agent/state/device-claims.ts";
import { RememberedNetworks } from "../../../agent/state/remembered-networks.ts";
import { backends } from "../../../backend/registry.ts";
import { withNetlink } from "../../../doctor/gather/kernel.ts";
import { describeError, isCancelled } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { removeRules } from "../../../firewall/remove-rules.ts";
import { ruleSuffix } from "../../../firewall/rule-suffix.ts";
import { removePodBridge } from "../../../host/pod-bridge.ts";
import { removeLeftScratch } from "../../../host/scratch-links.ts";
import { cleanUpHost } from "../../../host/without-agent.ts";
import { bridgesOf } from "../../../lease/cni-conflist.ts";
import type { Lease, LeaseAttributes } from "../../../lease/lease.ts";
import { silentLogger } from "../../../telemetry/logger.ts";
import type { Paint } from "../../../terminal/text.ts";
import { AbsentAgent, hostIdentity } from "../session/absent-agent.ts";
import { type Invocation, present, remark } from "../session/invocation.ts";
import { type CleanupOutput, cleanupOutputSchema } from "../session/json-output.ts";
import { optionsOfNetwork } from "../session/one-network.ts";
import { withStore } from "../session/open-store.ts";

export interface CleanupOptions {
  readonly dryRun: boolean;
  readonly release: boolean;
  readonly all: boolean;
}

type Failures = CleanupOutput["failures"];

/** 0 when all that was asked is gone, else 1. Kernel first, then the lease, last the files that remember it. */
export async function cleanUp(invocation: Invocation, cleanup: CleanupOptions): Promise<ExitCode> {
  const output = await removeNetworks(invocation, cleanup);
  present(invocation, cleanupOutputSchema, output, renderCleanup);
  return output.failures.length === 0 ? exitCodes.ok : exitCodes.failure;
}

/** The network that is named, or the only one; else all that the agent of this host has served. */
export async function removeNetworks(invocation: Invocation, cleanup: CleanupOptions): Promise<CleanupOutput> {
  const { several, stateDirectory } = invocation.options;
  if (several === undefined) {
    using agent = AbsentAgent.lockOut(invocation.options);
    return await removeFromHost(invocation, agent, cleanup);
  }
  const remembered = new RememberedNetworks(stateDirectory, several.subnetDirectory, several.prefix);
  let output = noneRemoved(cleanup.dryRun);
  for (const name of remembered.load().names) {
    const options = optionsOfNetwork(invocation.options, name);
    using agent = AbsentAgent.lockOut(options);
    if (!agent.isRemembered) continue;
    output = joined(output, await removeFromHost({ ...invocation, options }, agent, cleanup));
  }
  const isDone = cleanup.all && output.failures.length === 0 && existsSync(remembered.file);
  if (!isDone) return output;
  if (!cleanup.dryRun) rmSync(remembered.file, { force: true });
  return { ...output, removedFiles: [...output.removedFiles, remembered.file] };
}

function noneRemoved(dryRun: boolean): CleanupOutput {
  return { dryRun, removedObjects: [], releasedLeases: [], removedFiles: [], failures: [] };
}

function joined(a: CleanupOutput, b: CleanupOutput): CleanupOutput {
  return {
    dryRun: a.dryRun,
    removedObjects: [...a.removedObjects, ...b.removedObjects],
    releasedLeases: [...a.releasedLeases, ...b.releasedLeases],
    removedFiles: [...new Set([...a.removedFiles, ...b.removedFiles])],
    failures: [...a.failures, ...b.failures],
  };
}

async function removeFromHost(
  invocation: Invocation,
  agent: AbsentAgent,
  { dryRun, release, all }: CleanupOptions,
): Promise<CleanupOutput> {
  const { signal } = invocation;
  const scope = await agent.scope();
  const configurations = agent.cniFiles();
  const cniFiles = configurations
    .flatMap(({ path, target }) => [path, ...(target !== undefined && existsSync(target) ? [target] : [])])
    .concat(agent.cniBootFiles());
  const bridges = [...new Set(configurations.flatMap(({ text }) => bridgesOf(text)))];
  const failures: Failures = dryRun ? [] : stopAttaching(agent, cniFiles);
  const removedBridges = await removePodBridges(invocation, bridges, dryRun, failures);
  using _claims = DeviceClaims.take(scope.devices, backends.deviceKeys);
  const ofBackends = await agent.cleanUpBackends({ isDryRun: dryRun, signal });
  failures.push(...ofBackends.flatMap((result) => result.failures));
  const host = await cleanUpHost(scope, { isDryRun: dryRun, logger: silentLogger, signal });
  const suffix = ruleSuffix(agent.network);
  const scratch = dryRun ? [] : await withNetlink(removeLeftScratch);
  const rules = await removeRules({ suffix, networks: scope.networks, isDryRun: dryRun });
  failures.push(...[...host.failures, ...rules.failures].map(({ object, error }) => ({ object, error })));
  const released = release ? await releaseOwnLease(invocation, agent, dryRun, failures) : [];
  const rest = all && failures.length === 0 ? await agent.files() : [];
  const files = [...cniFiles.filter((file) => !failures.some(({ object }) => object === file)), ...rest];
  if (!dryRun) for (const file of rest) rmSync(file, { force: true });
  const removedByBackends = ofBackends.flatMap(({ removed }) => removed);
  const removedObjects = [...removedBridges, ...removedByBackends, ...host.removed, ...scratch, ...rules.removed];
  return { dryRun, removedObjects, releasedLeases: released, removedFiles: files, failures };
}

/** First: a pod that is attached from now on would have no network. */
function stopAttaching(agent: AbsentAgent, cniFiles: readonly string[]): Failures {
  const failures: Failures = [];
  for (const file of cniFiles) {
    try {
      rmSync(file, { force: true });
    } catch (error) {
      failures.push({ object: file, error: describeError(error) });
    }
  }
  agent.holdBack("flannel was removed from it (flannelctl cleanup)");
  return failures;
}

/** A store that is away is a failure like others: the kernel is clean already, which has to be reported. */
async function releaseOwnLease(
  invocation: Invocation,
  agent: AbsentAgent,
  dryRun: boolean,
  failures: Failures,
): Promise<string[]> {
  try {
    return await deleteOwnLease(invocation, agent, dryRun);
  } catch (error) {
    if (isCancelled(error)) throw error;
    failures.push({ object: "the lease in the store", error: describeError(error) });
    return [];
  }
}

/** A reservation stays: an operator made it, and it is released as one. */
async function deleteOwnLease(invocation: Invocation, agent: AbsentAgent, dryRun: boolean): Promise<string[]> {
  const { signal } = invocation;
  return await withStore(invocation, async (store) => {
    const nodeName = invocation.options.kubernetes?.nodeName;
    // Whoever names this host's Node says which lease it has; what that announces may be an overwrite.
    const isOwn =
      nodeName === undefined
        ? ownLeaseTest(agent, (own, lease) => store.isSameGrant(own, lease))
        : ({ key }: Lease) => key === nodeName;
    const released: string[] = [];
    for (const lease of await store.list(signal)) {
      if (!isOwn(lease)) continue;
      if (lease.isReservation) {
        remark(invocation, `${lease.key} is reserved for this host and stays; see flannelctl lease release`);
        continue;
      }
      if (!dryRun) await store.release(lease.key, { force: true }, signal);
      released.push(lease.key);
    }
    return released;
  });
}

/**
 * Ours is the lease that the state remembers while it still announces what we announced; without state, the one of the
 * subnet file's subnet while it announces an address of this host.
 */
function ownLeaseTest(
  agent: AbsentAgent,
  isSameGrant: (own: Lease, lease: Lease) => boolean,
): (lease: Lease) => boolean {
  const own = agent.remembered()?.own;
  if (own !== undefined) {
    return (lease) =>
      lease.key === own.key && (isSameGrant(own, lease) || hasSameAddresses(lease.attributes, own.attributes));
  }
  const { subnet, ipv6Subnet } = agent.subnets();
  const { addresses } = hostIdentity();
  const isHere = ({ publicIp, publicIpv6 }: LeaseAttributes) =>
    [publicIp, publicIpv6].some((address) => address !== undefined && addresses.has(address));
  if (subnet === undefined && ipv6Subnet === undefined) return () => false;
  return (lease) => lease.subnet === subnet && lease.ipv6Subnet === ipv6Subnet && isHere(lease.attributes);
}

function hasSameAddresses(a: LeaseAttributes, b: LeaseAttributes): boolean {
  return a.publicIp === b.publicIp && a.publicIpv6 === b.publicIpv6;
}

function renderCleanup(output: CleanupOutput, paint: Paint): string[] {
  const done = output.dryRun ? "would remove" : "removed";
  const gone = [
    ...output.removedObjects,
    ...output.releasedLeases.map((key) => `lease ${key}`),
    ...output.removedFiles.map((file) => `file ${file}`),
  ];
  return [
    ...(gone.length === 0 ? ["nothing to remove"] : gone.map((object) => `${done} ${object}`)),
    ...output.failures.map(({ object, error }) => `${paint.bad("failed")} ${object}: ${error}`),
  ];
}

/**
 * The bridges that CNI plugins made of the configuration that the agent wrote go with it, once no pod hangs on them. Gives the names
 * of those that went; adds to `failures`. Says of those that stay what is attached to them.
 */
async function removePodBridges(
  invocation: Invocation,
  bridges: readonly string[],
  dryRun: boolean,
  failures: CleanupOutput["failures"],
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const bridge of bridges) {
    try {
      const outcome = await removePodBridge(bridge, dryRun);
      if (outcome === "removed") removed.push(bridge);
      else if (outcome !== "missing") {
        const devices = outcome.attached === 1 ? "1 device is" : `${outcome.attached} devices are`;
        remark(invocation, `${bridge} stays: ${devices} attached to it, of pods that were started before`);
      }
    } catch (error) {
      failures.push({ object: bridge, error: describeError(error) });
    }
  }
  return removed;
}
