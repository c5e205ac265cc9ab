// flanneld.env: variables of the agent, one a line, in the form that systemd, a shell and flannelctl read alike.

import { readFileSync } from "node:fs";
import { describeError, FlannelError } from "../../errors.ts";
import { isMissingFile } from "../../sys/files.ts";
import type { Environment } from "../flags/flags.ts";
import type { HostPaths } from "./host-paths.ts";

export interface AgentSettings {
  /** `https://10.0.0.1:2379` */
  readonly endpoint: string;
  readonly prefix: string;
}

/** The agent's variables on a host whose files lie at `paths`. What is flanneld's default is left out. */
export function agentEnvironment(paths: HostPaths, { endpoint, prefix }: AgentSettings): Record<string, string> {
  return {
    FLANNELD_ETCD_ENDPOINTS: endpoint,
    ...(prefix !== "/coreos.com/network" && { FLANNELD_ETCD_PREFIX: prefix }),
    FLANNELD_ETCD_CAFILE: paths.caFile,
    FLANNELD_ETCD_CERTFILE: paths.certFile,
    FLANNELD_ETCD_KEYFILE: paths.keyFile,
    FLANNELD_ETCD_CERT_RENEW: "true",
    ...(paths.root !== "" && { FLANNELD_SUBNET_FILE: paths.subnetFile, FLANNELD_STATE_DIR: paths.stateDirectory }),
  };
}

/** Values hold no blanks and nothing a shell or systemd would expand: see `checkPlainPath`. */
export function renderEnvFile(variables: Readonly<Record<string, string>>): string {
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`);
  return `# Read by flanneld and flannelctl on this host; made by flannelctl init or join.\n${lines.join("")}`;
}

export function parseEnvFile(text: string): Record<string, string> {
  const lines = text.split("\n").map((line) => line.trim());
  const pairs = lines.flatMap((line) => {
    const [, name, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    return name === undefined || value === undefined ? [] : [[name, value.replace(/^(["'])(.*)\1$/, "$2")] as const];
  });
  return Object.fromEntries(pairs);
}

/** Empty when there is none. Throws `FILE_FAILED` when it cannot be read. */
export function readEnvFile(file: string): Environment {
  try {
    return parseEnvFile(readFileSync(file, "utf8"));
  } catch (cause) {
    if (isMissingFile(cause)) return {};
    throw new FlannelError("FILE_FAILED", `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
}
