// The demo's command line. Pure.
import { parseArgs } from "node:util";
import { backends as registry } from "../../src/backend/registry.ts";

export interface DemoOptions {
  readonly backend: string;
  readonly store: "etcd" | "embedded";
  /** 2 to 16. */
  readonly hosts: number;
  /** End after the show in place of leaving the world running. */
  readonly once: boolean;
  readonly help: boolean;
}

/** Wrong use: the message is a sentence for the person, the exit code 2. */
export class DemoUsageError extends Error {
  override readonly name = "DemoUsageError";
}

const minHosts = 2;
const maxHosts = 16;
/**
 * Without wireguard, since the demo's hosts share file systems, where each program of user space would find the others' sockets, and
 * without extension, whose commands nobody gave; without those of clouds, whose routers are not here.
 */
const notShown = new Set(["wireguard", "extension", "ipip", "ipsec", "aws-vpc", "gce", "ali-vpc", "tencent-vpc"]);
const backends = registry.modules.map(({ type }) => type).filter((type) => !notShown.has(type));

export const demoUsage = `Usage: npm start -- [options]

Builds a small world on this machine (one LAN, some hosts, a container on each, a store), runs one flanneld per host
and shows what happens. Everything is in separate namespaces, and the demo removes it when it ends.

  --backend=NAME   how packets travel: ${backends.join(", ")} (default ${backends[0]})
  --hosts=N        number of hosts, ${minHosts} to ${maxHosts} (default 3)
  --store=NAME     where leases are kept: embedded (flannel-store, default) or etcd
  --once           end after the demonstration (as without a terminal); exit code 0 only if all went well
  --yes            answer yes to the questions of the set-up
  --help           this text
`;

/** Throws DemoUsageError for an unknown option or a value that cannot be. */
export function parseDemoOptions(argv: readonly string[]): DemoOptions {
  const values = parse(argv);
  const backend = (values.backend ?? backends[0] ?? "").toLowerCase();
  if (!backends.includes(backend)) {
    const what =
      registry.find(backend) === undefined ? "there is no such backend" : "the demo does not show this backend";
    throw new DemoUsageError(`--backend=${backend}: ${what}; choose one of ${backends.join(", ")}.`);
  }
  const store = values.store ?? "embedded";
  if (store !== "etcd" && store !== "embedded") {
    throw new DemoUsageError(`--store=${store}: there is no such store; choose embedded or etcd.`);
  }
  const hosts = values.hosts ?? "3";
  if (!/^\d{1,3}$/.test(hosts) || Number(hosts) < minHosts || Number(hosts) > maxHosts) {
    throw new DemoUsageError(`--hosts=${hosts}: must be a number from ${minHosts} to ${maxHosts}.`);
  }
  return { backend, store, hosts: Number(hosts), once: values.once ?? false, help: values.help ?? false };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        backend: { type: "string" },
        hosts: { type: "string" },
        store: { type: "string" },
        once: { type: "boolean" },
        yes: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    }).values;
  } catch (error) {
    // Node's sentence names the option or argument; what follows the first full stop is advice for programmers.
    const message = error instanceof Error ? error.message : String(error);
    throw new DemoUsageError(`${message.split(". ")[0]?.replace(/\.$/, "")}.`, { cause: error });
  }
}
