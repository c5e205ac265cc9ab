// `flannelctl handover`: makes routes and devices of this host such that upstream's flanneld can take it over.
import { rmSync } from "node:fs";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { handoverSchema } from "../../../agent/control/control-protocol.ts";
import { containerNetwork } from "../../../cni/container-network.ts";
import { hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { identifyConflist } from "../../../lease/cni-conflist.ts";
import { attachHoldFile } from "../../../lease/subnet-env.ts";
import { writeFileAtomically } from "../../../sys/files.ts";
import { silentLogger } from "../../../telemetry/logger.ts";
import { count } from "../../../terminal/text.ts";
import type { AbsentAgent } from "../session/absent-agent.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { type HandoverOutput, handoverOutputSchema } from "../session/json-output.ts";
import { requireOneNetwork } from "../session/one-network.ts";

const request = { method: "POST", path: controlPaths.handover, schema: handoverSchema } as const;

/** Through the agent, which then keeps them so until it ends; without an agent directly. */
export async function handOver(invocation: Invocation): Promise<ExitCode> {
  const output = await throughAgent(invocation).catch((error: unknown) => {
    if (hasCode(error, "AGENT_ABSENT")) return throughKernel(invocation);
    throw error;
  });
  present(invocation, handoverOutputSchema, output, render);
  return exitCodes.ok;
}

function render({ networks, through }: HandoverOutput): string[] {
  const rewrittenRoutes = networks.reduce((sum, network) => sum + network.rewrittenRoutes, 0);
  const devices = networks.flatMap(({ releasedDevices }) => releasedDevices).join(", ");
  const isRunning = through === "agent";
  const scratchFiles = networks.reduce((sum, { writtenScratchFiles = 0 }) => sum + writtenScratchFiles, 0);
  const done = [
    ...(rewrittenRoutes === 0 ? [] : [`rewrote ${count(rewrittenRoutes, "route")} as plain`]),
    ...(scratchFiles === 0 ? [] : [`wrote ${count(scratchFiles, "scratch file")} for upstream's CNI plugin`]),
    ...(devices === "" ? [] : [isRunning ? `${devices} goes when this flanneld stops` : `removed ${devices}`]),
  ];
  const next = isRunning
    ? "stop this flanneld, then start upstream's"
    : "start upstream's flanneld, or restart it if it runs already";
  return [`${done.length === 0 ? "nothing to do, all routes are plain" : done.join("; ")}: ${next}`];
}

async function throughAgent({ options, signal }: Invocation): Promise<HandoverOutput> {
  return { ...(await askAgent(options.socketPaths, request, signal)), through: "agent" };
}

async function throughKernel({ options, signal }: Invocation): Promise<HandoverOutput> {
  const { AbsentAgent } = await import("../session/absent-agent.ts");
  const { handOverHost } = await import("../../../host/without-agent.ts");
  requireOneNetwork(options);
  using agent = AbsentAgent.lockOut(options);
  rmSync(attachHoldFile(options.subnetFile), { force: true });
  const done = await handOverHost(await agent.scope(), { logger: silentLogger, signal });
  const name = options.network ?? options.kubernetes?.annotationPrefix ?? options.etcd.prefix;
  const writtenScratchFiles = await writeScratchFiles(agent, options.cniStateDirectory);
  for (const { path, text, target } of agent.cniFiles())
    if (target !== undefined && text !== "") await writeFileAtomically(path, text);
  for (const path of agent.cniBootFiles()) rmSync(path, { force: true });
  const network = { name, ...done, releasedDevices: [...done.releasedDevices], writtenScratchFiles };
  return { networks: [network], through: "kernel" };
}

/** Of the containers that the agent's CNI configuration attached: see `writeMissingScratchFiles`. */
async function writeScratchFiles(agent: AbsentAgent, cniStateDirectory: string): Promise<number> {
  const { writeMissingScratchFiles } = await import("../../../cni/write-scratch.ts");
  const { Rtnetlink } = await import("../../../netlink/rtnetlink/rtnetlink.ts");
  await using rtnetlink = Rtnetlink.open();
  const interfaces = new Set((await rtnetlink.dump("link")).map((link) => link.name));
  let written = 0;
  for (const { text } of agent.cniFiles()) {
    const identity = identifyConflist(text);
    if (identity === undefined) continue;
    const network = containerNetwork(cniStateDirectory, identity.name, identity.ipamDirectory);
    written += await writeMissingScratchFiles(network, text, interfaces);
  }
  return written;
}
