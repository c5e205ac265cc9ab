// flanneld's flags for several networks in one agent, as in flannel v0.7, and what they come to. Pure.

import type { AgentOptions, SeveralNetworks } from "../../config/agent-options.ts";
import { isNetworkName, MAX_NETWORKS, NETWORK_NAME_RULE } from "../../config/network-name.ts";
import { FlannelError } from "../../errors.ts";
import type { FlagDefinition, ParsedFlags } from "./flags.ts";

const group = "Several networks";

const DEFAULT_DIRECTORY = "/run/flannel/networks";

export const networkFlags: readonly FlagDefinition[] = [
  {
    name: "networks",
    kind: "string",
    default: "",
    group,
    valueName: "LIST",
    description:
      "Serve several networks, named here and separated by commas: the network config of each is at PREFIX/NAME/config.",
    validate: networksRule,
  },
  {
    name: "watch-networks",
    kind: "bool",
    default: false,
    group,
    description:
      "Serve the networks that have a config below PREFIX, as they come and go; with --networks those of its names only.",
  },
  {
    name: "subnet-dir",
    kind: "string",
    default: DEFAULT_DIRECTORY,
    group,
    valueName: "DIR",
    description: "Directory of the subnet files of several networks: NAME.env each.",
    validate: (text) => (text.startsWith("/") ? undefined : "must be the absolute path of a directory"),
  },
];

/** Empty entries mean nothing, so that a list can be put together by a script. */
function namesOf(text: string): readonly string[] {
  return text.split(",").flatMap((name) => name.trim() || []);
}

function networksRule(text: string): string | undefined {
  const names = namesOf(text);
  const wrong = names.find((name) => !isNetworkName(name));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (wrong !== undefined) return `must hold names of networks: each ${NETWORK_NAME_RULE}`;
  if (twice !== undefined) return `must name each network once (${twice})`;
  if (names.length > MAX_NETWORKS) return `must name at most ${MAX_NETWORKS} networks`;
  return text !== "" && names.length === 0 ? "must name a network" : undefined;
}

/** Undefined: one network without a name. Throws `USAGE` with flags that are for that one only. */
export function severalNetworks(parsed: ParsedFlags, store: AgentOptions["store"]): SeveralNetworks | undefined {
  const [networks, watch, directory] = ["networks", "watch-networks", "subnet-dir"].map((name) =>
    parsed.values.get(name),
  );
  const names = Object.freeze(namesOf(String(networks)));
  if (names.length === 0 && watch !== true) return undefined;
  const flag = names.length > 0 ? "--networks" : "--watch-networks";
  if (store === "kubernetes") {
    throw new FlannelError("USAGE", `${flag} needs etcd or --store=embedded: a Kubernetes cluster has one network`);
  }
  for (const alone of ["subnet-file", "cni-conf-file", "cni-conf-target", "cni-boot-file", "cni-conf-template"]) {
    if (!parsed.sources.has(alone)) continue;
    const instead = alone === "subnet-file" ? "give --subnet-dir" : "remove it";
    throw new FlannelError("USAGE", `--${alone} is for one network, and ${flag} is given: ${instead}`);
  }
  return Object.freeze({ names, isWatching: watch === true, directory: withoutSlash(String(directory)) });
}

function withoutSlash(directory: string): string {
  return directory.replace(/(?<=.)\/+$/, "");
}
