// `flannelctl plan`: what the agent wants the kernel to hold, and what it would change now.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type Plan, planSchema } from "../../../agent/control/control-protocol.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { planOutputSchema } from "../session/json-output.ts";
import { ofNamedNetwork } from "../session/one-network.ts";
import { renderNetworks } from "../session/render-networks.ts";

/** 0 also when there is a difference: looking is not a check. */
export async function showPlan(invocation: Invocation): Promise<ExitCode> {
  const plan = await askAgent(
    invocation.options.socketPaths,
    { method: "GET", path: controlPaths.plan, schema: planSchema },
    invocation.signal,
  );
  present(invocation, planOutputSchema, ofNamedNetwork(plan, invocation.options), renderPlan);
  return exitCodes.ok;
}

function renderPlan({ networks }: Plan, paint: Paint): string[] {
  return renderNetworks(networks, (network) => renderNetwork(network, paint));
}

function renderNetwork(plan: Plan["networks"][number], paint: Paint): string[] {
  const colour = (line: string) => (line.startsWith("-") ? paint.bad(line) : paint.good(line));
  const difference =
    plan.difference.length === 0
      ? ["# the kernel matches it"]
      : [`# the kernel differs: ${count(plan.difference.length, "change")} to make`, ...plan.difference.map(colour)];
  return [`# desired host state (${count(plan.desired.length, "object")})`, ...plan.desired, "", ...difference];
}
