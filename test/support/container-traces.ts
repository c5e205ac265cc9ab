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
