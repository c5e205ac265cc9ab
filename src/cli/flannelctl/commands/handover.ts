// `flannelctl handover`: makes routes and devices of this host such that upstream's flanneld can take it over.
import { rmSync } from "node:fs";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { handoverSchema } from "../../../agent/control/control-protocol.ts";
import { hasCode } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { attachHoldFile } from "../../../lease/subnet-env.ts";
import { silentLogger } from "../../../telemetry/logger.ts";
import { count } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { type HandoverOutput, handoverOutputSchema } from "../session/json-output.ts";

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
  const done = [
    ...(rewrittenRoutes === 0 ? [] : [`rewrote ${count(rewrittenRoutes, "route")} as plain`]),
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
  using agent = AbsentAgent.lockOut(options);
  rmSync(attachHoldFile(options.subnetFile), { force: true });
  const done = await handOverHost(await agent.scope(), { logger: silentLogger, signal });
  const name = options.kubernetes?.annotationPrefix ?? options.etcd.prefix;
  return { networks: [{ name, ...done, releasedDevices: [...done.releasedDevices] }], through: "kernel" };
}
