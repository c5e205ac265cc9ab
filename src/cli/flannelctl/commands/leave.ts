// `flannelctl leave`: takes this host out of its cluster for good: from the store, from the kernel, from the disk. May be
// run again when something stopped it half-way.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describeError, FlannelError, hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import type { RemovedLeases } from "../../../flannel-store/membership/cluster.ts";
import { ClusterClient } from "../../../flannel-store/membership/cluster-client.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import { removeIfEmpty } from "../../../sys/files.ts";
import { memberEndpoint, memberName, removeHostFiles } from "../../install/host-files.ts";
import type { HostPaths } from "../../install/host-paths.ts";
import { disableAndStop, enableAndBegin, isSystemdRunning, reloadUnits } from "../../install/systemd.ts";
import { AbsentAgent } from "../session/absent-agent.ts";
import { type Invocation, present, remark } from "../session/invocation.ts";
import { leaveOutputSchema } from "../session/json-output.ts";
import { rollBack } from "../session/rollback.ts";
import { reportStep } from "./bring-up.ts";
import { removeNetworks } from "./cleanup.ts";
import { lockMembership } from "./membership-lock.ts";

export interface LeaveOptions {
  readonly force: boolean;
  readonly systemd: boolean;
}

/** 0 when nothing of it is left, else 1. */
export async function leave(invocation: Invocation, { force, systemd }: LeaveOptions): Promise<ExitCode> {
  const { paths } = invocation.options;
  const endpoint = requireMember(paths);
  using _alone = lockMembership(paths);
  const unit = join(paths.unitDirectory, "flanneld.service");
  const hasUnit = systemd && isSystemdRunning() && existsSync(unit);
  if (hasUnit) {
    await disableAndStop("flanneld.service", invocation.signal);
    reportStep(invocation, "flanneld is stopped");
  }
  const released = await leaveStoreOrGoOn(invocation, endpoint, force, hasUnit ? unit : undefined);
  const cleaned = await removeNetworks(invocation, { dryRun: false, release: false, all: true });
  const isClean = cleaned.failures.length === 0;
  // What could not be removed is found again by what is known here.
  const files = isClean ? removeHostFiles(paths, hasUnit ? [unit] : []) : [];
  if (isClean) removeIfEmpty(paths.etcDirectory);
  if (hasUnit) await reloadUnits(invocation.signal);
  const { removedObjects, failures } = cleaned;
  const pendingReason = released?.pendingReason ?? "";
  const output = {
    endpoint,
    storeInformed: released !== undefined,
    removedObjects,
    releasedLeases: [...(released?.leases ?? [])],
    removedFiles: [...cleaned.removedFiles, ...files],
    ...(pendingReason !== "" && { pendingReason }),
    failures,
  };
  present(invocation, leaveOutputSchema, output, (value, paint) => [
    ...value.failures.map(({ object, error }) => `${paint.bad("failed")} ${object}: ${error}`),
    isClean
      ? `this host has left the cluster at ${endpoint}`
      : "not everything was removed: run flannelctl leave again",
  ]);
  return isClean ? exitCodes.ok : exitCodes.failure;
}

/** Throws `CONFIG_MISSING` on a host of no cluster, `CLUSTER_CONFLICT` on the one that keeps the store. */
function requireMember(paths: HostPaths): string {
  const endpoint = memberEndpoint(paths);
  if (endpoint === undefined) {
    throw new FlannelError("CONFIG_MISSING", `this host is not a member of a cluster: ${paths.envFile} does not exist`);
  }
  if (!existsSync(clusterFiles(paths.clusterDirectory).members)) return endpoint;
  throw new FlannelError(
    "CLUSTER_CONFLICT",
    "this host runs the store that all other hosts need: to end the cluster, run flannelctl leave on every other host, then stop flanneld " +
      `and flannel-store here, run flannelctl cleanup --all and remove ${paths.etcDirectory} and ${paths.dataDirectory}`,
  );
}

/** As `leaveStore`; when that fails nothing has happened on this host, so the agent of `unit` goes on. */
async function leaveStoreOrGoOn(
  invocation: Invocation,
  endpoint: string,
  force: boolean,
  unit: string | undefined,
): Promise<RemovedLeases | undefined> {
  try {
    using _agent = AbsentAgent.lockOut(invocation.options);
    return await leaveStore(invocation, endpoint, force);
  } catch (error) {
    if (unit !== undefined) {
      await rollBack(async (signal) => {
        await enableAndBegin(unit, signal);
        remark(invocation, "restarted flanneld: nothing on this host was removed");
      }).catch((failure: unknown) => remark(invocation, `flanneld did not restart: ${describeError(failure)}`));
    }
    throw error;
  }
}

/** The leases that are gone from the store; undefined when it did not answer or did not know this host. */
async function leaveStore(
  invocation: Invocation,
  endpoint: string,
  force: boolean,
): Promise<RemovedLeases | undefined> {
  const { etcd } = invocation.options;
  const { caFile, certFile, keyFile } = etcd;
  try {
    const client = new ClusterClient({ endpoints: endpoint, caFile, certFile, keyFile });
    const removed = await client.leave(invocation.signal);
    reportStep(invocation, "the store removed this host from its list of members");
    if (removed.pendingReason !== "") {
      const cause = `the store could not delete the leases of this host yet (${removed.pendingReason})`;
      remark(invocation, `${cause}: it deletes them as soon as it can write, nothing else is to be done`);
    }
    return removed;
  } catch (error) {
    if (hasCode(error, "STORE_UNAUTHORIZED")) {
      const name = memberName(invocation.options.paths) ?? "NAME";
      const cure = `if flannelctl host list on the store's host still shows this host, run flannelctl host remove ${name} there`;
      remark(invocation, `${error.message}: removing the files and devices of this host; ${cure}`);
      return undefined;
    }
    if (!hasCode(error, "STORE_UNAVAILABLE", "FILE_FAILED")) throw error;
    if (!force) {
      throw new FlannelError(error.code, `${error.message}; to leave without the store, use --force`, {
        cause: error,
        tellsCause: true,
      });
    }
    remark(
      invocation,
      `the store does not know that this host left: run flannelctl host remove on the store's host (${error.message})`,
    );
    return undefined;
  }
}
