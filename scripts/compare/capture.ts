// What there is to see of a host and of a store, as text: kernel, files, flannelctl. Nothing is left out here because it
// varies; see normalise.ts.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LabHost } from "../../lab/host.ts";
import { inTurns } from "./in-turns.ts";
import { AT_ONCE, type World } from "./world.ts";

export interface Capture {
  /** With slashes: `running/h1/routes`. */
  readonly name: string;
  readonly text: string;
  /** The order of the lines says when things came, not what they are. */
  readonly isSet?: boolean;
}

const kernelViews: readonly { readonly name: string; readonly argv: string; readonly isSet: boolean }[] = [
  { name: "link", argv: "ip -details -oneline link show", isSet: true },
  { name: "address", argv: "ip -oneline address show", isSet: true },
  { name: "route", argv: "ip -details -4 route show table all", isSet: true },
  { name: "route6", argv: "ip -details -6 route show table all", isSet: true },
  { name: "policy", argv: "ip -4 rule show", isSet: false },
  { name: "policy6", argv: "ip -6 rule show", isSet: false },
  // Others are the kernel's own, and come and go.
  { name: "neighbour", argv: "ip neighbour show nud permanent", isSet: true },
  { name: "fdb", argv: "bridge fdb show", isSet: true },
  { name: "nexthop", argv: "ip nexthop show", isSet: true },
  { name: "nft", argv: "nft list ruleset", isSet: false },
  { name: "iptables", argv: "iptables-save", isSet: false },
  { name: "ip6tables", argv: "ip6tables-save", isSet: false },
  { name: "sysctl", argv: "sysctl --all --pattern ^net\\.ipv[46]\\.(conf\\.|ip_forward)", isSet: true },
];

/** One host's kernel and the files of its agent. */
export async function captureHost(host: LabHost): Promise<readonly Capture[]> {
  const kernel = await inTurns(AT_ONCE, kernelViews, async ({ name, argv, isSet }) => {
    const { stdout, stderr } = await host.namespace.tryRun(argv.split(" "));
    return { name: `${host.name}/${name}`, text: `${stdout}${stderr}`, isSet };
  });
  return [...kernel, ...(await captureFiles(host))];
}

async function captureFiles(host: LabHost): Promise<readonly Capture[]> {
  const directory = host.runDirectory;
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).sort();
  const listing = paths.map((path) => path.slice(directory.length + 1));
  const files = entries.filter((entry) => entry.isFile() && !entry.name.endsWith(".lock"));
  const contents = await Promise.all(
    files.map(async (entry) => {
      const path = join(entry.parentPath, entry.name);
      return { name: `${host.name}/files/${path.slice(directory.length + 1)}`, text: await readFile(path, "utf8") };
    }),
  );
  return [{ name: `${host.name}/files/list`, text: `${listing.join("\n")}\n` }, ...contents];
}

/** What commands of flannelctl say, with the agent and the store of that host. */
export async function captureCommands(
  world: World,
  host: LabHost,
  commands: readonly string[],
): Promise<readonly Capture[]> {
  // One cleanup excludes another.
  const atOnce = commands.some((command) => command.includes("cleanup")) ? 1 : AT_ONCE;
  return inTurns(atOnce, commands, async (command) => {
    const { stdout, stderr, exitCode } = await world.ctl(host, ...command.split(" "));
    const name = `${host.name}/flannelctl ${command.replaceAll("/", "_")}`;
    return { name, text: `${stdout}--- standard error\n${stderr}--- exit code ${exitCode}\n` };
  });
}

/** All keys of the store, and whether each has an expiry. */
export async function captureStore({ etcd }: World): Promise<Capture> {
  const entries = await etcd.list("/");
  const lines = entries.map(({ key, value, leaseId }) => `${key} = ${value}${leaseId === 0n ? "" : " (expires)"}`);
  return { name: "store", text: `${lines.join("\n")}\n` };
}
