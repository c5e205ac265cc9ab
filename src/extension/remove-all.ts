// Runs the commands that take away what an agent which no longer runs had made: for each peer, then for the host.
import { describeError, isCancelled } from "../errors.ts";
import type { CommandName, ExtensionCommands, Variables } from "./extension-state.ts";
import { readSavedPeers, readSavedVariables, shownPeer } from "./peer-record.ts";
import { runCommand } from "./run-command.ts";

export interface RemovalResult {
  readonly removed: readonly string[];
  readonly failures: readonly { readonly object: string; readonly error: string }[];
}

/** `saved`: what the agent saved last. All are attempted; with `isDryRun` nothing is run. */
export async function removeAll(
  { subnetRemove, shutdown, shell, timeLimitMs }: ExtensionCommands,
  saved: unknown,
  { isDryRun, signal }: { readonly isDryRun: boolean; readonly signal: AbortSignal },
): Promise<RemovalResult> {
  const removed: string[] = [];
  const failures: { object: string; error: string }[] = [];
  const run = async (name: CommandName, object: string, command: string, variables: Variables, input: string) => {
    if (command === "") return;
    try {
      if (!isDryRun) await runCommand({ name, command, shell, variables, input, timeLimitMs, signal });
      removed.push(`what ${object} removes`);
    } catch (error) {
      if (isCancelled(error)) throw error;
      failures.push({ object, error: describeError(error) });
    }
  };
  for (const peer of readSavedPeers(saved).values()) {
    const name = "SubnetRemoveCommand";
    await run(name, `${name} for ${shownPeer(peer)}`, subnetRemove, peer.variables, peer.input);
  }
  const own = readSavedVariables(saved);
  if (saved !== undefined) await run("ShutdownCommand", "ShutdownCommand", shutdown, own, "");
  return { removed, failures };
}
