// `flannelctl init` with other addresses stops the store that runs: it must not stay so, whatever goes wrong.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { describeError } from "../../../errors.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import { MemberRegistry } from "../../../flannel-store/membership/member-registry.ts";
import { writeFileAtomically } from "../../../sys/files.ts";
import type { HostPaths } from "../../install/host-paths.ts";
import { checkPortFree, listenBeside } from "../../install/own-addresses.ts";
import { unitListen } from "../../install/services.ts";
import { reloadUnits, start, stop } from "../../install/systemd.ts";
import { type Remarks, remark } from "../session/invocation.ts";
import { rollBack } from "../session/rollback.ts";
import type { InitPlan } from "./init-plan.ts";

const STORE = "flannel-store";

type Interruptible = Remarks & { readonly signal: AbortSignal };

/** Of the plan of an `init`, what is needed here. */
interface PausePlan {
  readonly step: InitPlan["step"];
  readonly services: Pick<InitPlan["services"], "paths" | "storeListen">;
}

/**
 * Stops the store where systemd runs it and its addresses are to be changed; `work` ends with a store that runs. If it
 * fails or is interrupted, the files are put back and the store is started on them, so that the same can be asked again.
 * What can be wrong with the new addresses is found before.
 */
export async function withStoreStopped<T>(
  invocation: Interruptible,
  { step, services: { paths, storeListen = [] } }: PausePlan,
  systemd: boolean,
  work: () => Promise<T>,
): Promise<T> {
  if (step !== "addresses" || !systemd) return await work();
  await checkPortFree(listenBeside(storeListen, unitListen(paths)));
  let before: Before = { files: new Map() };
  try {
    await stop(STORE, invocation.signal);
    before = readBefore(paths);
    return await work();
  } catch (error) {
    await rollBack((signal) => startAgain(invocation, paths, before, signal));
    throw error;
  }
}

/** What a change of addresses writes, as it is now. */
interface Before {
  /** By path: the text. */
  readonly files: ReadonlyMap<string, string>;
  /** Of the list of members only this: the store may have noted hosts and tokens in it by the time it is put back. */
  readonly facts?: MemberRegistry["facts"];
}

function readBefore({ clusterDirectory, envFile, unitDirectory }: HostPaths): Before {
  const { serverCertificate, members } = clusterFiles(clusterDirectory);
  const units = [STORE, "flanneld"].map((name) => join(unitDirectory, `${name}.service`));
  const present = [serverCertificate, envFile, ...units].filter((file) => existsSync(file));
  const files = new Map(present.map((file) => [file, readFileSync(file, "utf8")]));
  return existsSync(members) ? { files, facts: MemberRegistry.open(clusterFiles(clusterDirectory)).facts } : { files };
}

async function startAgain(
  invocation: Remarks,
  paths: HostPaths,
  { files, facts }: Before,
  signal: AbortSignal,
): Promise<void> {
  const openRegistry = () => MemberRegistry.open(clusterFiles(paths.clusterDirectory));
  try {
    const changed = [...files].filter(([file, text]) => readFileSync(file, "utf8") !== text);
    const areFactsOther = facts !== undefined && !isDeepStrictEqual(openRegistry().facts, facts);
    // It may have been started on the new files by now.
    if (changed.length > 0 || areFactsOther) await stop(STORE, signal);
    for (const [file, text] of changed) await writeFileAtomically(file, text);
    if (areFactsOther) openRegistry().setFacts(facts);
    if (changed.some(([file]) => file.endsWith(".service"))) await reloadUnits(signal);
  } catch (error) {
    remark(invocation, `could not restore all previous files: ${describeError(error)}`);
  }
  try {
    await start(STORE, signal);
    remark(invocation, "the store runs again with the previous files");
  } catch (error) {
    remark(invocation, `the store did not restart: ${describeError(error)}`);
  }
}
