// The bridges that CNI plugins made of the configuration that the agent wrote: they go with it, once no pod hangs on them.
import { describeError } from "../../../errors.ts";
import { removePodBridge } from "../../../host/pod-bridge.ts";
import { type Invocation, remark } from "../session/invocation.ts";
import type { CleanupOutput } from "../session/json-output.ts";

/** Gives the names of those that went; adds to `failures`. Says of those that stay what is attached to them. */
export async function removePodBridges(
  invocation: Invocation,
  bridges: readonly string[],
  dryRun: boolean,
  failures: CleanupOutput["failures"],
): Promise<readonly string[]> {
  const removed: string[] = [];
  for (const bridge of bridges) {
    try {
      const outcome = await removePodBridge(bridge, dryRun);
      if (outcome === "removed") removed.push(bridge);
      else if (outcome !== "missing") {
        const devices = outcome.attached === 1 ? "1 device is" : `${outcome.attached} devices are`;
        remark(invocation, `${bridge} stays: ${devices} attached to it, of pods that were started before`);
      }
    } catch (error) {
      failures.push({ object: bridge, error: describeError(error) });
    }
  }
  return removed;
}
