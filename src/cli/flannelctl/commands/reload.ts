// `flannelctl reload`: what SIGHUP does, for those who cannot easily send it, as in a container.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { reloadedSchema } from "../../../agent/control/control-protocol.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { reloadOutputSchema } from "../session/json-output.ts";

const request = { method: "POST", path: controlPaths.reload, schema: reloadedSchema } as const;

/** Of all networks of the agent. */
export async function reloadAgent(invocation: Invocation): Promise<ExitCode> {
  const { options, signal } = invocation;
  const output = await askAgent(options.socketPaths, request, signal);
  present(invocation, reloadOutputSchema, output, ({ problem }) => [
    problem === undefined
      ? "reloaded: log level, certificates and network configuration"
      : `could not reload everything, previous values stay in use: ${problem}`,
  ]);
  return output.problem === undefined ? exitCodes.ok : exitCodes.failure;
}
