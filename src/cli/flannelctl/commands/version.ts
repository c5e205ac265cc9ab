// `flannelctl version`: what runs here, and which version of the agent answers, if one does.
import { z } from "zod";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { describeError, hasCode, isCancelled } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { formatPairs } from "../../../terminal/text.ts";
import { commit } from "../../../version.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { type VersionOutput, versionOutputSchema } from "../session/json-output.ts";

/** Of the agent's status only what agents of every version have: the two need not be of one version. */
const agentRequest = {
  method: "GET",
  path: controlPaths.status,
  schema: z.object({ agent: z.object({ version: z.string(), pid: z.int() }) }),
} as const;

/** 0 also when no agent answers: it is no failure of this program. */
export async function showVersion(invocation: Invocation, version: string): Promise<ExitCode> {
  const output: VersionOutput = {
    flannelctl: { version, ...(commit !== undefined && { commit }) },
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    ...(await agentVersion(invocation)),
  };
  present(invocation, versionOutputSchema, output, renderVersion);
  return exitCodes.ok;
}

async function agentVersion({ options, signal }: Invocation): Promise<Pick<VersionOutput, "agent" | "agentProblem">> {
  try {
    const { agent } = await askAgent(options.socketPaths, agentRequest, signal);
    return { agent };
  } catch (error) {
    if (isCancelled(error)) throw error;
    const isAbsent = hasCode(error, "AGENT_ABSENT");
    return { agentProblem: isAbsent ? `no flanneld listens on ${options.socketPaths.at(-1)}` : describeError(error) };
  }
}

function renderVersion({ flannelctl, node, platform, agent, agentProblem }: VersionOutput): string[] {
  return formatPairs([
    ["flannelctl", flannelctl.version],
    ["commit", flannelctl.commit ?? "unknown: not built from a git checkout"],
    ["node", node],
    ["platform", platform],
    ["flanneld", agent === undefined ? `unknown: ${agentProblem}` : `${agent.version} (pid ${agent.pid})`],
  ]);
}
