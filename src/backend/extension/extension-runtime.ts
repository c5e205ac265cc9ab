// The running half of the extension backend: the commands. Their code is loaded only by those who need it.
import { FlannelError } from "../../errors.ts";
import type { ExtensionCommands, ExtensionState } from "../../extension/extension-state.ts";
import type { BackendData } from "../../lease/lease.ts";
import type {
  BackendRuntime,
  CleanUpResult,
  CleanUpServices,
  RuntimeFeatures,
  RuntimeServices,
  StartUpServices,
} from "../backend.ts";

/** Runs PreStartupCommand: what it prints is this host's data. */
export async function extensionStartUp(
  { preStartup, shell, timeLimitMs }: ExtensionCommands,
  { signal }: StartUpServices,
): Promise<BackendData | undefined> {
  if (preStartup === "") return undefined;
  const { MAX_OUTPUT_CHARACTERS, runCommand } = await import("../../extension/run-command.ts");
  const name = "PreStartupCommand";
  const run = { name, command: preStartup, shell, variables: {}, input: "", timeLimitMs, signal } as const;
  const { output, isCut } = await runCommand(run);
  if (!isCut) return output;
  throw new FlannelError("COMMAND_FAILED", `${name}: it printed more than ${MAX_OUTPUT_CHARACTERS} characters`, {
    retryable: true,
  });
}

export async function startExtension(services: RuntimeServices): Promise<BackendRuntime<ExtensionState>> {
  const { logger, memory, onChange, isStopped } = services;
  const { CommandReconciler } = await import("../../extension/command-reconciler.ts");
  let state: ExtensionState | undefined;
  let isHandedOver = false;
  const reconciler = new CommandReconciler({
    logger,
    onChange,
    load: () => memory.load(),
    save: (saved) => memory.save(saved),
    isStopped: () => isStopped() && !isHandedOver,
  });
  return {
    apply: (wanted, { isComplete }) => {
      state = wanted;
      return reconciler.apply(wanted, isComplete);
    },
    problem: () => reconciler.problem(),
    failures: () => reconciler.failures(),
    unreachedPeers: () => reconciler.unreachedPeers(),
    planLines: () => reconciler.planLines(),
    status: () => ({ ...(state !== undefined && { features: features(state) }), carried: {}, dropped: {}, peers: [] }),
    handOver: () => {
      isHandedOver = true;
      return Promise.resolve([]);
    },
    [Symbol.asyncDispose]: () => reconciler[Symbol.asyncDispose](),
  };
}

/** Runs what takes away what an agent that no longer runs had made. */
export async function cleanUpExtension(
  commands: ExtensionCommands,
  { memory, isDryRun, signal }: CleanUpServices,
): Promise<CleanUpResult> {
  const { removeAll } = await import("../../extension/remove-all.ts");
  const result = await removeAll(commands, memory.load(), { isDryRun, signal });
  if (!isDryRun && result.failures.length === 0) memory.forget();
  return result;
}

function features({ commands }: ExtensionState): RuntimeFeatures {
  const { preStartup, postStartup, subnetAdd, subnetRemove, shutdown, shell } = commands;
  const named = { preStartup, postStartup, subnetAdd, subnetRemove, shutdown };
  return {
    shell,
    commands: Object.entries(named)
      .flatMap(([name, text]) => (text === "" ? [] : [name]))
      .join(" "),
  };
}

export function describeExtension({ shell, commands }: RuntimeFeatures): string {
  if (typeof commands !== "string" || commands === "") return "no commands";
  return `commands ${shell === true ? "by the shell" : "without a shell"}: ${commands.replaceAll(" ", ", ")}`;
}
