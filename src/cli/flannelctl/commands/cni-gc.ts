// `flannelctl cni gc`: frees addresses that containers have left reserved, by the answer of the container runtime.
import { statSync } from "node:fs";
import { collect, findGarbage, type Garbage } from "../../../cni/collect-garbage.ts";
import { type ContainerNetwork, containerNetwork, networksWithScratchFiles } from "../../../cni/container-network.ts";
import { presentHost } from "../../../cni/present-host.ts";
import { listSandboxes } from "../../../cni/runtime-sandboxes.ts";
import { FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { identifyConflist } from "../../../lease/cni-conflist.ts";
import { Rtnetlink } from "../../../netlink/rtnetlink/rtnetlink.ts";
import { readSmallFileOrEmpty } from "../../../sys/files.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { type CniGcOutput, cniGcOutputSchema } from "../session/json-output.ts";

export interface CniGcOptions {
  readonly dryRun: boolean;
  readonly runtimeEndpoint?: string;
  readonly cniConfFile: string;
}

/** Where distributions have them; more than one may run. */
const usualSockets = [
  "/run/containerd/containerd.sock",
  "/run/crio/crio.sock",
  "/run/cri-dockerd.sock",
  "/run/k3s/containerd/containerd.sock",
  "/run/k0s/containerd.sock",
  "/var/snap/microk8s/common/run/containerd.sock",
];
/** Upstream's name. */
const USUAL_NETWORK = "cbr0";
const MAX_CONFIGURATION_BYTES = 256 * 1024;

export async function collectGarbage(invocation: Invocation, options: CniGcOptions): Promise<ExitCode> {
  const sockets = options.runtimeEndpoint === undefined ? presentSockets() : [socketPath(options.runtimeEndpoint)];
  const asked = new Set<string>();
  const sandboxes = () => allSandboxes(sockets, invocation.signal, asked);
  const networks: CniGcOutput["networks"] = [];
  for (const network of networksOf(invocation, options)) {
    const garbage = await findGarbage({
      network,
      host: presentHost(await links()),
      nowMs: invocation.terminal.nowMs(),
      sandboxes,
    });
    const freed = options.dryRun ? garbage.reservations : await collect(network, garbage);
    networks.push(describe(network, garbage, freed));
  }
  const output = { dryRun: options.dryRun, runtimes: [...asked], networks };
  present(invocation, cniGcOutputSchema, output, render);
  return exitCodes.ok;
}

function networksOf(invocation: Invocation, { cniConfFile }: CniGcOptions): ContainerNetwork[] {
  const { cniStateDirectory } = invocation.options;
  const configured = identifyConflist(readSmallFileOrEmpty(cniConfFile, MAX_CONFIGURATION_BYTES));
  const names = new Set([USUAL_NETWORK, ...networksWithScratchFiles(cniStateDirectory)]);
  if (configured !== undefined) names.delete(configured.name);
  const others = [...names].map((name) => containerNetwork(cniStateDirectory, name));
  if (configured === undefined) return others;
  return [containerNetwork(cniStateDirectory, configured.name, configured.ipamDirectory), ...others];
}

function presentSockets(): string[] {
  const found = usualSockets.filter((path) => statSync(path, { throwIfNoEntry: false })?.isSocket() === true);
  if (found.length > 0) return found;
  throw new FlannelError(
    "RUNTIME_UNAVAILABLE",
    `no container runtime was found (${usualSockets.join(", ")}): name its socket with --runtime-endpoint; in a pod it has to be mounted`,
  );
}

/** As crictl and the kubelet have it: `unix:///run/…`. */
function socketPath(endpoint: string): string {
  const path = endpoint.replace(/^unix:\/\//, "");
  if (path.startsWith("/")) return path;
  throw new FlannelError("USAGE", `--runtime-endpoint ${endpoint} is not the path of a unix socket`);
}

/** Of all of them: a container of any must keep its address. Throws `RUNTIME_UNAVAILABLE` when one does not answer. */
async function allSandboxes(sockets: readonly string[], signal: AbortSignal, asked: Set<string>): Promise<Set<string>> {
  const all = new Set<string>();
  for (const socket of sockets) {
    const sandboxes = await listSandboxes(socket, signal);
    if (sandboxes === undefined) continue;
    asked.add(socket);
    for (const id of sandboxes) all.add(id);
  }
  if (asked.size > 0) return all;
  throw new FlannelError(
    "RUNTIME_UNAVAILABLE",
    `${sockets.join(", ")}: no container runtime for pods (CRI) answers there`,
  );
}

async function links() {
  await using rtnetlink = Rtnetlink.open();
  return await rtnetlink.dump("link");
}

function describe(
  { name, reservations: directory }: ContainerNetwork,
  garbage: Garbage,
  freed: Garbage["reservations"],
): CniGcOutput["networks"][number] {
  return {
    name,
    directory,
    freedAddresses: freed.map(({ address, containerId }) => ({ address, containerId })),
    keptAddresses: garbage.kept.map(({ reservation: { address, containerId }, reason }) => ({
      address,
      containerId,
      reason,
    })),
    removedScratchFiles: garbage.scratchFiles.map(({ file }) => file),
  };
}

function render({ dryRun, networks }: CniGcOutput): string[] {
  const lines = networks.flatMap(({ freedAddresses, keptAddresses, removedScratchFiles }) => [
    ...freedAddresses.map(
      ({ address, containerId }) => `${dryRun ? "would free" : "freed"} ${address} of container ${containerId}`,
    ),
    ...keptAddresses.map(({ address, reason }) => `kept ${address}: ${reason}`),
    ...removedScratchFiles.map((file) => `${dryRun ? "would remove" : "removed"} ${file}`),
  ]);
  const freed = networks.reduce((sum, { freedAddresses }) => sum + freedAddresses.length, 0);
  if (lines.length === 0) return ["nothing to free: the container runtime knows every container with an address"];
  return [...lines, `${dryRun ? "would free" : "freed"} ${freed === 1 ? "1 address" : `${freed} addresses`}`];
}
