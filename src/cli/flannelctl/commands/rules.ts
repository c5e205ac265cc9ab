// `flannelctl rules`: the traffic rules that the agent wants, and those that are there.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type Rules, rulesSchema } from "../../../agent/control/control-protocol.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { rulesOutputSchema } from "../session/json-output.ts";
import { ofNamedNetwork } from "../session/one-network.ts";
import { renderNetworks } from "../session/render-networks.ts";

/** 0 also when there is a difference: looking is not a check. */
export async function showRules(invocation: Invocation): Promise<ExitCode> {
  const request = { method: "GET", path: controlPaths.rules, schema: rulesSchema } as const;
  const rules = await askAgent(invocation.options.socketPaths, request, invocation.signal);
  present(invocation, rulesOutputSchema, ofNamedNetwork(rules, invocation.options), renderRules);
  return exitCodes.ok;
}

export function renderRules({ networks }: Rules, paint: Paint): string[] {
  return renderNetworks(networks, (network) => renderNetwork(network, paint));
}

function renderNetwork(rules: Rules["networks"][number], paint: Paint): string[] {
  const colour = (line: string) => (line.startsWith("+") ? paint.good(line) : paint.bad(line));
  const difference =
    rules.difference.length === 0
      ? ["# the kernel matches them"]
      : [
          `# the kernel differs in ${count(rules.difference.length, "line")}`,
          ...rules.difference.map(colour),
          "",
          `# observed (${count(rules.found.length, "line")})`,
          ...rules.found,
        ];
  return [
    `# kept in ${rules.mode}: ${rules.reason}`,
    `# desired (${count(rules.wanted.length, "line")})`,
    ...rules.wanted,
    "",
    ...difference,
  ];
}
