// The systemd units of a host in a cluster: those in deploy/, with the paths of this host. Pure.
import { FlannelError } from "../../errors.ts";
import type { HostPaths } from "./host-paths.ts";

export interface UnitContext {
  readonly paths: HostPaths;
  /** With bin/ and docs/. */
  readonly directory: string;
  /** Named to the launchers. */
  readonly node?: string;
  /** False: only a root with power over others' files gets to the programs. */
  readonly isOpenToRoot: boolean;
}

/** How the first line of every unit of ours begins: it distinguishes them from others. */
export const unitMark = "# Made by flannelctl";

type Change = readonly [before: string, after: string];

/** `template` is deploy/flanneld.service. */
export function agentUnit(template: string, context: UnitContext): string {
  const { root, envFile, etcDirectory, subnetFile, stateDirectory } = context.paths;
  const writable = root === "" ? [etcDirectory] : [etcDirectory, `${root}/run/flannel`, stateDirectory];
  const docker = root === "" ? "-d /run/flannel/docker" : `-f ${subnetFile} -d ${root}/run/flannel/docker`;
  return render(template, context, [
    [
      "EnvironmentFile=-/etc/default/flanneld",
      `EnvironmentFile=-${root}/etc/default/flanneld\nEnvironmentFile=${envFile}`,
    ],
    ["mk-docker-opts -d /run/flannel/docker", `mk-docker-opts ${docker}`],
    ["ReadWritePaths=/run/flannel", `ReadWritePaths=/run/flannel ${writable.join(" ")}`],
    [
      "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW",
      `CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW${reading(context)}`,
    ],
  ]);
}

/** `template` is deploy/flannel-store.service; `argv` what flannel-store is started with, without the program. */
export function storeUnit(template: string, argv: readonly string[], context: UnitContext): string {
  const { root, dataDirectory } = context.paths;
  return render(template, context, [
    ["EnvironmentFile=-/etc/default/", `EnvironmentFile=-${root}/etc/default/`],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: systemd's own syntax
    ["--data-dir ${STATE_DIRECTORY}", argv.join(" ")],
    ["ProtectSystem=strict", `ProtectSystem=strict\nReadWritePaths=${dataDirectory}`],
    ["CapabilityBoundingSet=", `CapabilityBoundingSet=${reading(context).trim()}`],
  ]);
}

/** Without it a root stripped of its powers cannot enter a home directory. */
function reading({ isOpenToRoot }: UnitContext): string {
  return isOpenToRoot ? "" : " CAP_DAC_READ_SEARCH";
}

/** What is to be changed must be there, so that a template that was changed is noticed. */
function render(template: string, context: UnitContext, changes: readonly Change[]): string {
  const { directory, node } = context;
  // What people read at the top of the template is about copying it.
  let text = template.slice(template.indexOf("[Unit]")).replaceAll("/opt/flannel", () => directory);
  for (const [before, after] of [...changes, ...sandboxChanges(context)]) {
    if (!text.includes(before)) throw new FlannelError("INTERNAL", `deploy/*.service lacks ${before}`);
    text = text.replace(before, () => after);
  }
  if (node !== undefined) text = text.replace("[Service]\n", () => `[Service]\nEnvironment=FLANNEL_NODE=${node}\n`);
  const head = `${unitMark} init or join, which overwrite it: put changes into a drop-in (systemctl edit).\n`;
  return head + text;
}

/** What the sandbox hides must not be where our own files are. */
function sandboxChanges({ directory, node = "", paths }: UnitContext): Change[] {
  const ours = [directory, node, paths.etcDirectory].map((path) => `${path}/`);
  const isBelow = (...parents: readonly string[]) =>
    ours.some((path) => parents.some((parent) => path.startsWith(`${parent}/`)));
  return [
    ...(isBelow("/home", "/root", "/run/user") ? [["ProtectHome=yes", "ProtectHome=read-only"] as const] : []),
    ...(isBelow("/tmp", "/var/tmp") ? [["PrivateTmp=yes", "PrivateTmp=no"] as const] : []),
  ];
}
