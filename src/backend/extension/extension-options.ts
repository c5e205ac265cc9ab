// Keys of the extension backend. Pure.
import { invalid } from "../../config/address-pool.ts";
import type { BackendKey } from "../../config/backend-key.ts";
import { boolOption, intOption, readBackendOptions, stringOption } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import type { ExtensionCommands } from "../../extension/extension-state.ts";

export interface ExtensionOptions {
  readonly commands: ExtensionCommands;
  /** Of containers; 0: that of the external interface. */
  readonly mtuBytes: number;
}

/** Linux takes 128 KiB for one argument; a whole configuration has at most 64 KiB. */
const MAX_COMMAND_CHARACTERS = 32 * 1024;

function commandKey(name: string, description: string, live: boolean): BackendKey {
  return { name, type: "string", defaultValue: "", defaultText: "none", description, live, isPrivate: true };
}

export const extensionKeys: readonly BackendKey[] = [
  commandKey(
    "PreStartupCommand",
    "Runs before the lease is taken. What it prints is announced to the other hosts as this host's data.",
    false,
  ),
  commandKey(
    "PostStartupCommand",
    "Runs when the lease is there, and again when it becomes another one; with `NETWORK`, `SUBNET`, `IPV6SUBNET`, " +
      "`PUBLIC_IP` and `PUBLIC_IPV6` of this host.",
    false,
  ),
  commandKey(
    "SubnetAddCommand",
    "Runs for each other host, with its `SUBNET`, `PUBLIC_IP`, `IPV6SUBNET` and `PUBLIC_IPV6`, and its data on standard input.",
    true,
  ),
  commandKey("SubnetRemoveCommand", "The same for a host that is gone.", true),
  commandKey("ShutdownCommand", "Runs when the agent is stopped. Upstream does not run it.", true),
  {
    name: "Shell",
    type: "bool",
    defaultValue: false,
    defaultText: "false",
    description:
      "Give the commands to `sh -c`, as upstream did until v0.28.1. Otherwise they are split at white space and run without a shell. Upstream does not have this key.",
    live: false,
  },
  {
    name: "TimeLimit",
    type: "int",
    defaultValue: 60,
    defaultText: "60",
    minimum: 1,
    maximum: 3_600,
    description:
      "Seconds after which a command and all that it started are ended. Upstream does not have this key, and waits for ever.",
    live: true,
  },
  {
    name: "MTU",
    type: "int",
    defaultValue: 0,
    defaultText: "0: that of the external interface",
    maximum: 65_535,
    description:
      "MTU of containers: lower than that of the external interface by what the commands' tunnel needs. Upstream does not have this key.",
    live: true,
  },
];

/** Throws `CONFIG_INVALID` naming key, value and rule. */
export function readExtensionOptions(config: NetworkConfig): ExtensionOptions {
  const options = readBackendOptions(extensionKeys, config.backend);
  const command = (name: string): string => {
    const text = stringOption(options, name);
    if (text.includes("\0")) throw invalid(`Backend.${name}`, "(hidden)", "must not contain the character U+0000");
    if (text.length > MAX_COMMAND_CHARACTERS) {
      throw invalid(`Backend.${name}`, `${text.length} characters`, `must have at most ${MAX_COMMAND_CHARACTERS}`);
    }
    if (text !== "" && text.trim() === "") throw invalid(`Backend.${name}`, "(hidden)", "must name a program");
    return text;
  };
  const mtuBytes = intOption(options, "MTU");
  // Smallest MTU of a link: RFC 791 for IPv4; RFC 8200 for IPv6.
  const smallest = config.ipv6 === undefined ? 68 : 1_280;
  if (mtuBytes !== 0 && mtuBytes < smallest)
    throw invalid("Backend.MTU", mtuBytes, `must be 0 or at least ${smallest}`);
  return Object.freeze({
    commands: {
      preStartup: command("PreStartupCommand"),
      postStartup: command("PostStartupCommand"),
      subnetAdd: command("SubnetAddCommand"),
      subnetRemove: command("SubnetRemoveCommand"),
      shutdown: command("ShutdownCommand"),
      shell: boolOption(options, "Shell"),
      timeLimitMs: intOption(options, "TimeLimit") * 1_000,
    },
    mtuBytes,
  });
}
