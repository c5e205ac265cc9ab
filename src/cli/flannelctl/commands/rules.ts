// `flannelctl rules`: the traffic rules that the agent wants, and those that are there.
import { type Rules, rulesSchema } from "../../../agent/control/control-protocol.ts";
import { count, type Paint } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type ExitCode, exitCodes, type Invocation, present } from "../session/invocation.ts";
import { rulesOutputSchema } from "../session/json-output.ts";

/** 0 also when there is a difference: looking is not a check. */
export async function showRules(invocation: Invocation): Promise<ExitCode> {
  const request = { method: "GET", path: "/v1/rules", schema: rulesSchema } as const;
  const rules = await askAgent(invocation.options.socketPaths, request, invocation.signal);
  present(invocation, rulesOutputSchema, rules, renderRules);
  return exitCodes.ok;
}

export function renderRules(rules: Rules, paint: Paint): string[] {
  const colour = (line: string) => (line.startsWith("+") ? paint.good(line) : paint.bad(line));
  const difference =
    rules.difference.length === 0
      ? ["# exactly these are there"]
      : [
          `# what is there differs in ${count(rules.difference.length, "line")}`,
          ...rules.difference.map(colour),
          "",
          `# there (${count(rules.found.length, "line")})`,
          ...rules.found,
        ];
  return [
    `# kept in ${rules.mode}: ${rules.reason}`,
    `# wanted (${count(rules.wanted.length, "line")})`,
    ...rules.wanted,
    "",
    ...difference,
  ];
}
