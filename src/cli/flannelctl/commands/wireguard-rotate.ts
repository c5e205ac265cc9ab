// `flannelctl wireguard rotate`: a new key for this host, through its agent.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { rotatedSchema } from "../../../agent/control/control-protocol.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { count } from "../../../terminal/text.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { wireguardRotateOutputSchema } from "../session/json-output.ts";

/** The agent waits for the store and for the peers. */
const TIMEOUT_MS = 60_000;

type Rotated = ReturnType<typeof wireguardRotateOutputSchema.parse>;

export async function rotateKey(invocation: Invocation, { force }: { readonly force: boolean }): Promise<ExitCode> {
  const { options, signal } = invocation;
  const path = force ? `${controlPaths.rotate}?force=true` : controlPaths.rotate;
  const ask = { method: "POST", path, schema: rotatedSchema, timeoutMs: TIMEOUT_MS } as const;
  const output = await askAgent(options.socketPaths, ask, signal);
  present(invocation, wireguardRotateOutputSchema, output, ({ networks }) => networks.flatMap(render));
  return output.networks.every(({ pending }) => pending.length === 0) ? exitCodes.ok : exitCodes.failure;
}

function render({ publicKey, followed, pending, staticPeers }: Rotated["networks"][number]): string[] {
  const slowestMs = Math.max(0, ...followed.map(({ afterMs }) => afterMs));
  return [
    `the key of this host is ${publicKey} now`,
    `${count(followed.length, "host")} followed${followed.length === 0 ? "" : `, the last after ${Math.round(slowestMs)} ms`}`,
    ...(pending.length === 0 ? [] : [`${count(pending.length, "host")} will follow: ${pending.join(", ")}`]),
    ...(staticPeers.length === 0
      ? []
      : [`cut off until they have a new configuration (flannelctl wireguard export): ${staticPeers.join(", ")}`]),
  ];
}
