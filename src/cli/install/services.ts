// The processes of a host in a cluster: what they are started with, as units of systemd or by whoever else.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { FlannelError } from "../../errors.ts";
import { writeFileAtomically } from "../../sys/files.ts";
import { shellLine } from "../../terminal/text.ts";
import { type AgentSettings, agentEnvironment } from "./env-file.ts";
import type { HostPaths } from "./host-paths.ts";
import { findInstallation, type Installation, isOpenToRoot } from "./installation.ts";
import { agentUnit, storeUnit, type UnitContext, unitMark } from "./units.ts";

export interface HostProcess {
  readonly name: "flannel-store" | "flanneld";
  readonly argv: readonly string[];
  /** Besides what every process has. */
  readonly env: Readonly<Record<string, string>>;
}

export interface HostServices {
  readonly installation: Installation;
  readonly paths: HostPaths;
  readonly agent: AgentSettings;
  /** `HOST:PORT`, on the host that keeps the store. */
  readonly storeListen?: readonly string[];
}

/** In the order in which they are started. */
export function hostProcesses(services: HostServices): HostProcess[] {
  const { installation, paths, agent } = services;
  const { directory, node } = installation;
  const ownNode = node === undefined ? {} : { FLANNEL_NODE: node };
  const program = (name: HostProcess["name"]) => join(directory, "bin", name);
  const storeArguments = argumentsOfStore(services);
  return [
    ...(storeArguments === undefined
      ? []
      : [{ name: "flannel-store" as const, argv: [program("flannel-store"), ...storeArguments], env: ownNode }]),
    { name: "flanneld", argv: [program("flanneld")], env: { ...ownNode, ...agentEnvironment(paths, agent) } },
  ];
}

/** For a shell; the agent's variables come from its file. */
export function commandLine({ name, argv, env }: HostProcess, { envFile }: HostPaths): string {
  const node = env["FLANNEL_NODE"] === undefined ? [] : [`FLANNEL_NODE=${env["FLANNEL_NODE"]}`];
  const fromFile = name === "flanneld" ? [`$(grep ^FLANNELD_ ${envFile})`] : [];
  const variables = [...node, ...fromFile];
  return [...(variables.length === 0 ? [] : ["env", ...variables]), shellLine(argv)].join(" ");
}

/** Throws `CLUSTER_CONFLICT` for a unit that another program made: it may be serving another network. */
export function refuseForeignUnits({ unitDirectory }: HostPaths, names: readonly HostProcess["name"][]): void {
  for (const name of names) {
    const file = join(unitDirectory, `${name}.service`);
    if (!existsSync(file) || readFileSync(file, "utf8").startsWith(unitMark)) continue;
    throw new FlannelError(
      "CLUSTER_CONFLICT",
      `${file} was not made by flannelctl: remove it (systemctl disable --now ${name}; rm ${file}), or use --no-systemd`,
    );
  }
}

/** Names of the units written, in the order in which they are started. */
export async function writeUnits(services: HostServices): Promise<string[]> {
  const { installation, paths } = services;
  const { directory, node } = installation;
  const isOpen = [join(directory, "bin/flanneld"), ...(node === undefined ? [] : [node])].every(isOpenToRoot);
  const context: UnitContext = { paths, directory, isOpenToRoot: isOpen, ...(node !== undefined && { node }) };
  const template = (name: string) => readFileSync(join(directory, "deploy", `${name}.service`), "utf8");
  const storeArguments = argumentsOfStore(services);
  const units = [
    ...(storeArguments === undefined
      ? []
      : [["flannel-store.service", storeUnit(template("flannel-store"), storeArguments, context)] as const]),
    ["flanneld.service", agentUnit(template("flanneld"), context)] as const,
  ];
  for (const [name, text] of units) await writeFileAtomically(join(paths.unitDirectory, name), text);
  return units.map(([name]) => name);
}

/** Where the store listens by the unit that `init` made before; empty without one. */
export function unitListen({ unitDirectory }: HostPaths): string[] {
  const file = join(unitDirectory, "flannel-store.service");
  if (!existsSync(file)) return [];
  return [...readFileSync(file, "utf8").matchAll(/ --listen (\S+)/g)].map(([, address = ""]) => address);
}

function argumentsOfStore({ paths, storeListen }: HostServices): string[] | undefined {
  if (storeListen === undefined) return undefined;
  const listen = storeListen.flatMap((address) => ["--listen", address]);
  return ["--cluster", "--data-dir", paths.dataDirectory, ...listen];
}

/**
 * Where files of ours lie must be plain: units, variables files and shells each have their own idea of what else means.
 * Throws `USAGE`.
 */
export function checkPlainPaths(paths: HostPaths): Installation {
  const installation = findInstallation();
  for (const path of [paths.root, installation.directory, installation.node ?? ""]) {
    if (/^[\w./@+,=:-]*$/.test(path)) continue;
    const message = `${JSON.stringify(path)}: the paths of a host's files may contain only letters, digits and ./_@+,=:-`;
    throw new FlannelError("USAGE", message);
  }
  return installation;
}
