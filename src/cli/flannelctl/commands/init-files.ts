// What `flannelctl init` writes: authority, certificates, members, network configuration, the files of this host. Each
// step keeps what an earlier attempt made.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { describeError, FlannelError, hasCode } from "../../../errors.ts";
import { keySpaceOf } from "../../../etcd-api/key-space.ts";
import {
  admitFirstHost,
  type CreatedToken,
  createCluster,
  createFirstToken,
} from "../../../flannel-store/membership/cluster-setup.ts";
import { makeSigningRequest } from "../../../flannel-store/membership/signing-request.ts";
import { FileLock, holderText } from "../../../sys/file-lock.ts";
import { ensureDirectory } from "../../../sys/files.ts";
import { hostKey, writeEnvFile, writeHostFiles } from "../../install/host-files.ts";
import { flannelctlOn, type HostPaths } from "../../install/host-paths.ts";
import { storeInitialConfig } from "../../install/initial-config.ts";
import { checkPortFree } from "../../install/own-addresses.ts";
import { type Invocation, remark } from "../session/invocation.ts";
import { reportStep } from "./bring-up.ts";
import type { InitPlan } from "./init-plan.ts";

export interface MadeFiles {
  readonly config?: string;
  readonly token?: CreatedToken;
}

/** The store must not run meanwhile: see withStoreStopped; else it is refused. */
export async function makeClusterFiles(invocation: Invocation, plan: InitPlan): Promise<MadeFiles> {
  if (plan.step === "units") return {};
  const { paths, storeListen = [], agent } = plan.services;
  const { signal } = invocation;
  // On a host that has nothing yet nothing is written either; else a store that holds the port shows by its lock.
  if (!existsSync(paths.dataDirectory)) await checkPortFree(storeListen);
  using _lock = lockData(paths);
  await checkPortFree(storeListen);
  const { addresses, port } = plan;
  await createCluster(paths.clusterDirectory, { addresses, port, prefix: agent.prefix });
  reportStep(invocation, `certificate authority, certificates and list of members in ${paths.clusterDirectory}`);
  if (plan.step === "addresses") {
    await writeEnvFile(paths, agent);
    return {};
  }
  signal.throwIfAborted();
  const config = await storeConfig(invocation, plan);
  signal.throwIfAborted();
  const { certificatePem, caPem } = await admit(paths, plan.name);
  const token = createFirstToken(paths.clusterDirectory, plan.tokenTtlSeconds);
  signal.throwIfAborted();
  await writeHostFiles(paths, { certificatePem, caPem, agent });
  reportStep(invocation, `key, certificate and settings of this host in ${paths.etcDirectory}`);
  return { config, token };
}

async function admit(paths: HostPaths, name: string): ReturnType<typeof admitFirstHost> {
  const csr = await makeSigningRequest(await hostKey(paths), name);
  try {
    return await admitFirstHost(paths.clusterDirectory, { name, csr });
  } catch (cause) {
    if (!hasCode(cause, "CLUSTER_CONFLICT")) throw cause;
    const { ownName } = cause.details;
    const message =
      typeof ownName === "string"
        ? `an earlier init admitted this host as ${ownName}: repeat the command with --name ${ownName}`
        : `${paths.clusterDirectory} comes from another host, the member ${name}: give this host another ` +
          `--name, then remove the old member with ${flannelctlOn(paths)} host remove ${name}`;
    throw new FlannelError(cause.code, message, { cause, tellsCause: true });
  }
}

function lockData({ dataDirectory }: HostPaths): FileLock {
  try {
    ensureDirectory(dirname(dataDirectory), 0o755);
    ensureDirectory(dataDirectory, 0o700);
    return FileLock.acquire(join(dataDirectory, "lock"));
  } catch (cause) {
    if (!hasCode(cause, "AGENT_RUNNING")) {
      throw new FlannelError("FILE_FAILED", `cannot use ${dataDirectory}: ${describeError(cause)}`, { cause });
    }
    const who = `a flannel-store${holderText(cause.details)}`;
    const cure = "stop it, then repeat the command";
    throw new FlannelError("CLUSTER_CONFLICT", `${who} is running on ${dataDirectory}: ${cure}`, {
      cause,
      tellsCause: true,
    });
  }
}

async function storeConfig(invocation: Invocation, { services, configText }: InitPlan): Promise<string> {
  const { paths, agent } = services;
  const stored = await storeInitialConfig(paths.dataDirectory, keySpaceOf(agent.prefix).config, configText);
  if (stored === configText) reportStep(invocation, `network configuration ${stored.replaceAll(/\s+/g, " ")}`);
  else
    remark(
      invocation,
      "the store already has a network configuration, which stays unchanged: see flannelctl config get",
    );
  return stored;
}
