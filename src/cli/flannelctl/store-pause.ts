// `flannelctl init` with other addresses stops the store that runs: it must not stay so, whatever goes wrong.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { clusterFiles } from "../../cluster/cluster-files.ts";
import { describeError } from "../../errors.ts";
import { writeFileAtomically } from "../../lease/subnet-file.ts";
import type { HostPaths } from "../cluster/host-paths.ts";
import { checkPortFree, listenBeside } from "../cluster/own-addresses.ts";
import { unitListen } from "../cluster/services.ts";
import { reloadUnits, start, stop } from "../cluster/systemd.ts";
import type { InitPlan } from "./init-plan.ts";
import { type Invocation, remark } from "./invocation.ts";

const STORE = "flannel-store";
const BACK_WITHIN_MS = 30_000;

/**
 * Stops the store where systemd runs it and its addresses are to be changed; `work` ends with a store that runs. If it
 * fails or is interrupted, the files are put back and the store is started on them, so that the same can be asked again.
 * What can be wrong with the new addresses is found before.
 */
export async function withStoreStopped<T>(
  invocation: Invocation,
  { step, services: { paths, storeListen = [] } }: InitPlan,
  systemd: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (step !== "addresses" || !systemd) return await work();
  await checkPortFree(listenBeside(storeListen, unitListen(paths)));
  let before: ReadonlyMap<string, string> = new Map();
  try {
    await stop(STORE, invocation.signal);
    before = changedFiles(paths);
    return await work();
  } catch (error) {
    await startAgain(invocation, before);
    throw error;
  }
}

/** What a change of addresses writes, with the text that is there now. */
function changedFiles({ clusterDirectory, envFile, unitDirectory }: HostPaths): Map<string, string> {
  const { members, serverCertificate } = clusterFiles(clusterDirectory);
  const units = [STORE, "flanneld"].map((name) => join(unitDirectory, `${name}.service`));
  const files = [members, serverCertificate, envFile, ...units].filter((file) => existsSync(file));
  return new Map(files.map((file) => [file, readFileSync(file, "utf8")]));
}

/** By a clock of its own: what was interrupted must not interrupt this. */
async function startAgain(invocation: Invocation, before: ReadonlyMap<string, string>): Promise<void> {
  const signal = AbortSignal.timeout(BACK_WITHIN_MS);
  try {
    const changed = [...before].filter(([file, text]) => readFileSync(file, "utf8") !== text);
    // It may have been started on the new files by now.
    if (changed.length > 0) await stop(STORE, signal);
    for (const [file, text] of changed) await writeFileAtomically(file, text);
    if (changed.some(([file]) => file.endsWith(".service"))) await reloadUnits(signal);
  } catch (error) {
    remark(invocation, `the files of before are not all back: ${describeError(error)}`);
  }
  try {
    await start(STORE, signal);
    remark(invocation, "the store runs again as before");
  } catch (error) {
    remark(invocation, `the store does not run: ${describeError(error)}`);
  }
}
