// What containers of the network `cbr0` have on a host's disk and in its kernel: what may not be left of them.
import type { CommandResult } from "../../lab/command.ts";

export interface TracedHost {
  run(argv: readonly string[]): Promise<string>;
  tryRun(argv: readonly string[]): Promise<CommandResult>;
}

/** Names, each. */
export interface ContainerTraces {
  readonly addresses: readonly string[];
  readonly results: readonly string[];
  readonly scratchFiles: readonly string[];
  readonly interfaces: readonly string[];
  readonly namespaces: readonly string[];
}

export const noTraces: ContainerTraces = {
  addresses: [],
  results: [],
  scratchFiles: [],
  interfaces: [],
  namespaces: [],
};

export async function containerTraces(host: TracedHost): Promise<ContainerTraces> {
  const list = async (path: string, wanted: RegExp) => {
    const { stdout } = await host.tryRun(["ls", path]);
    return stdout.split("\n").filter((name) => wanted.test(name));
  };
  const links = (await host.run(["ip", "-br", "link", "show", "type", "veth"])).split("\n");
  return {
    addresses: await list("/var/lib/cni/networks/cbr0", /^[0-9a-f]+[.:]/),
    results: await list("/var/lib/cni/results", /^cbr0-/),
    scratchFiles: await list("/var/lib/cni/flannel", /./),
    interfaces: links.filter((line) => line.startsWith("veth")),
    namespaces: await list("/run/netns", /^cni-/),
  };
}

/** Named namespaces with an interface in them besides the loopback: a name alone holds nothing. */
export async function occupiedNamespaces(host: TracedHost): Promise<readonly string[]> {
  const each = 'ip -n "$name" -br link 2>/dev/null | grep -qv "^lo " && echo "$name"';
  const script = `cd /run/netns && for name in cni-*; do ${each}; done; :`;
  return (await host.run(["sh", "-c", script])).split("\n").filter((name) => name !== "");
}
