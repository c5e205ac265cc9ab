// The files that make a host a member of a cluster. The file with the agent's variables is the last that is written and
// the last that goes: a host with it is a member, one without is none yet or not any more.
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { describeError, FlannelError } from "../../errors.ts";
import { makePrivateKey, readCertificate, readPrivateKey } from "../../flannel-store/membership/keys.ts";
import { ensureDirectory, isMissingFile, writeFileAtomically } from "../../sys/files.ts";
import { type AgentSettings, agentEnvironment, parseEnvFile, renderEnvFile } from "./env-file.ts";
import type { HostPaths } from "./host-paths.ts";

/**
 * The key of this host, made when there is none. It is kept whatever happens: by it the store knows the host again. Throws
 * `FILE_FAILED`, and `CONFIG_INVALID` for a file that is no such key.
 */
export async function hostKey({ keyFile }: HostPaths): Promise<string> {
  const known = tryRead(keyFile);
  if (known !== undefined) {
    readPrivateKey(known, keyFile);
    return known;
  }
  const made = makePrivateKey();
  await writeFileAtomically(keyFile, made, 0o600);
  return made;
}

export interface HostFiles {
  readonly caPem: string;
  readonly certificatePem: string;
  readonly agent: AgentSettings;
}

export async function writeHostFiles(paths: HostPaths, { caPem, certificatePem, agent }: HostFiles): Promise<void> {
  removeUnfinished(paths);
  await writeFileAtomically(paths.caFile, caPem);
  await writeFileAtomically(paths.certFile, certificatePem);
  makeAgentDirectories(paths);
  await writeEnvFile(paths, agent);
}

export async function writeEnvFile(paths: HostPaths, agent: AgentSettings): Promise<void> {
  await writeFileAtomically(paths.envFile, renderEnvFile(agentEnvironment(paths, agent)));
}

/** What the unit lets the agent write to must be there before it starts. */
function makeAgentDirectories({ root, stateDirectory }: HostPaths): void {
  if (root === "") return;
  ensureDirectory(`${root}/run/flannel`, 0o755);
  ensureDirectory(dirname(stateDirectory), 0o755);
  ensureDirectory(stateDirectory, 0o700);
}

/** The endpoint a member's agent uses; undefined on a host that is no member. */
export function memberEndpoint({ envFile }: HostPaths): string | undefined {
  const text = tryRead(envFile);
  return text === undefined ? undefined : (parseEnvFile(text)["FLANNELD_ETCD_ENDPOINTS"] ?? "");
}

/** By what name this host was admitted last; undefined when it never was. */
export function memberName({ certFile }: HostPaths): string | undefined {
  const text = tryRead(certFile);
  return text === undefined ? undefined : /^CN=(.*)$/m.exec(readCertificate(text, certFile).subject)?.[1];
}

/** May be repeated. */
export function removeHostFiles(paths: HostPaths, unitFiles: readonly string[]): string[] {
  removeUnfinished(paths);
  const files = [...unitFiles, paths.certFile, paths.caFile, paths.keyFile, paths.envFile];
  const removed = files.filter((file) => tryRead(file) !== undefined);
  for (const file of removed) rmSync(file, { force: true });
  return removed;
}

/** What a crash left of files that were being written (see writeFileAtomically); one of them may hold a key. */
function removeUnfinished({ etcDirectory }: HostPaths): void {
  const entries = existsSync(etcDirectory) ? readdirSync(etcDirectory) : [];
  for (const name of entries.filter((entry) => /^\.(?:ca|host|host-key)\.pem\d+$|^\.flanneld\.env\d+$/.test(entry))) {
    rmSync(join(etcDirectory, name), { force: true });
  }
}

function tryRead(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    if (isMissingFile(cause)) {
      return undefined;
    }
    throw new FlannelError("FILE_FAILED", `cannot read ${file}: ${describeError(cause)}`, { cause, tellsCause: true });
  }
}
