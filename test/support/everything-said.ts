// All that an agent and flannelctl say of a host, in one text: no secret may be in it.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LabAgent } from "../../lab/agent.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));

export interface SaidOptions {
  readonly etcdEndpoints: string;
  /** Default: flannel's own. */
  readonly etcdPrefix?: string;
  /** Of a container on another host, to be asked about; missing: there is no other host. */
  readonly address?: string;
  /** What its bug report cannot lack: one that says nothing would show no secret either. */
  readonly inReport?: string;
  /** The command line that runs `argv` where the host's own files are. Default: as it is. */
  readonly wrap?: (argv: readonly string[]) => readonly string[];
}

/** Its log, every view of flannelctl, each file of a bug report, and the command lines of all processes. */
export async function everythingSaid(agent: LabAgent, options: SaidOptions): Promise<string> {
  const { etcdEndpoints, etcdPrefix, address, inReport = "", wrap = (argv) => argv } = options;
  const run = (argv: readonly string[]) => agent.host.namespace.run(wrap(argv));
  const prefix = etcdPrefix === undefined ? [] : [`--etcd-prefix=${etcdPrefix}`];
  const store = [`--etcd-endpoints=${etcdEndpoints}`, ...prefix];
  const files = [`--subnet-file=${agent.subnetFile}`, `--state-dir=${join(agent.directory, "state")}`];
  const views = [
    ["status"],
    ["status", "--json"],
    ["plan"],
    ["plan", "--json"],
    ["peers"],
    ["peers", "--json"],
    ["history"],
    ...(address === undefined ? [] : [["why", address]]),
  ];
  const said = [agent.output, await run([flannelctl, "config", "get", ...store])];
  for (const words of views) said.push(await run([flannelctl, ...words, `--socket=${agent.controlSocket}`]));
  const archive = join(agent.directory, "report.tar.gz");
  await run([flannelctl, ...store, ...files, "bugreport", "-o", archive]);
  const report = await run(["tar", "-xzOf", archive]);
  for (const part of ["status.json", inReport]) {
    if (!report.includes(part)) throw new Error(`a bug report without ${part}: ${report.slice(0, 2_000)}`);
  }
  return [...said, report, ...commandLines()].join("\n");
}

function commandLines(): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        return ""; // It has ended.
      }
    });
}
