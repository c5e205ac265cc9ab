// What `flannelctl init` is going to do: all that can be wrong with what was asked is found here, before anything is
// written.
import { existsSync, readFileSync } from "node:fs";
import { createBackend, parseConfig } from "../../../backend/registry.ts";
import { describeError, FlannelError, hasCode } from "../../../errors.ts";
import { DEFAULT_STORE_PORT, hostAndPort } from "../../../flannel-store/grpc/store-address.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import type { ClusterFacts } from "../../../flannel-store/membership/member-file.ts";
import { MemberRegistry } from "../../../flannel-store/membership/member-registry.ts";
import { type Address, parseAddress, tryParseAddress } from "../../../ip/address.ts";
import { memberEndpoint, memberName } from "../../install/host-files.ts";
import { flannelctlOn, type HostPaths } from "../../install/host-paths.ts";
import { checkNoOverlap, defaultAddress, listenAddresses, ownAddresses } from "../../install/own-addresses.ts";
import { checkPlainPaths, type HostServices, refuseForeignUnits, unitListen } from "../../install/services.ts";
import { isActive, isEnabled } from "../../install/systemd.ts";
import { type Invocation, remark } from "../session/invocation.ts";
import { chooseHostName } from "./bring-up.ts";

export interface InitOptions {
  readonly address: readonly string[];
  readonly port?: number;
  readonly name?: string;
  readonly network?: string;
  readonly config?: string;
  /** Seconds. */
  readonly tokenTtl: number;
  readonly systemd: boolean;
}

export interface InitPlan {
  /** What there is to do: everything; other addresses for a store that is there; only the units, which are missing. */
  readonly step: "new" | "addresses" | "units";
  readonly name: string;
  readonly addresses: readonly Address[];
  readonly port: number;
  readonly configText: string;
  readonly tokenTtlSeconds: number;
  readonly services: HostServices;
}

/** Throws `USAGE`, and `CLUSTER_CONFLICT` when nothing is to be done. */
export async function planInit(invocation: Invocation, given: InitOptions, systemd: boolean): Promise<InitPlan> {
  const { paths, etcd } = invocation.options;
  const installation = checkPlainPaths(paths);
  if (systemd) refuseForeignUnits(paths, ["flannel-store", "flanneld"]);
  const known = knownCluster(paths);
  const port = given.port ?? known?.port ?? DEFAULT_STORE_PORT;
  const addresses = await chooseAddresses(given.address, known);
  for (const address of addresses.filter((candidate) => !ownAddresses().includes(candidate))) {
    remark(invocation, `${address} is not an address of this host (NAT?), so the store listens on all addresses`);
  }
  const step = known === undefined ? "new" : await laterStep(invocation, { ...known, addresses, port }, known, systemd);
  return {
    step,
    name: chooseHostName(given.name ?? memberName(paths)),
    addresses,
    port,
    configText: step === "new" ? readConfig(given) : "",
    tokenTtlSeconds: given.tokenTtl,
    services: {
      installation,
      paths,
      agent: { endpoint: agentEndpoint(port), prefix: known?.etcdPrefix ?? etcd.prefix },
      storeListen: listenAddresses(addresses, port),
    },
  };
}

/** Of the agent beside the store. */
function agentEndpoint(port: number): string {
  return `https://127.0.0.1:${port}`;
}

/** What an earlier `init` made to its end. Throws `CLUSTER_CONFLICT` on a host that joined another one's cluster. */
function knownCluster(paths: HostPaths): ClusterFacts | undefined {
  const endpoint = memberEndpoint(paths);
  if (endpoint === undefined) return undefined;
  const files = clusterFiles(paths.clusterDirectory);
  if (existsSync(files.members)) return MemberRegistry.open(files).facts;
  throw new FlannelError(
    "CLUSTER_CONFLICT",
    `this host is already a member of the cluster at ${endpoint} (${paths.envFile}): to remove it from there, run ${flannelctlOn(paths)} leave`,
  );
}

async function laterStep(
  { signal, options: { paths } }: Invocation,
  wanted: ClusterFacts,
  known: ClusterFacts,
  systemd: boolean,
): Promise<InitPlan["step"]> {
  if (wanted.port !== known.port || wanted.addresses.join() !== known.addresses.join()) return "addresses";
  // An earlier change was ended before the agent's file was written. Another host name there is the operator's choice.
  const agentUses = memberEndpoint(paths) ?? "";
  if (agentUses !== agentEndpoint(wanted.port) && /^https:\/\/127\.0\.0\.1:\d+$/.test(agentUses)) return "addresses";
  if (systemd) {
    // An earlier change was ended half-way.
    const listen = unitListen(paths);
    const isServed = (address: string) =>
      [address, "0.0.0.0", "::"].some((host) => listen.includes(hostAndPort(host, wanted.port)));
    if (listen.length > 0 && !wanted.addresses.every(isServed)) return "addresses";
    const units = ["flannel-store", "flanneld"];
    const looks = units.flatMap((unit) => [isEnabled(unit, signal), isActive(unit, signal)]);
    if ((await Promise.all(looks)).includes(false)) return "units";
  }
  const at = hostAndPort(known.addresses[0] ?? "", known.port);
  throw new FlannelError(
    "CLUSTER_CONFLICT",
    `this host already runs the store of a cluster, at ${at}: to let another host join, run ${flannelctlOn(paths)} token create`,
  );
}

async function chooseAddresses(given: readonly string[], known: ClusterFacts | undefined): Promise<Address[]> {
  if (given.length > 0) return [...new Set(given.map(parseGivenAddress))];
  return known === undefined ? [await defaultAddress()] : known.addresses.map(parseAddress);
}

function parseGivenAddress(text: string): Address {
  const address = tryParseAddress(text);
  if (address !== undefined && address !== "0.0.0.0" && address !== "::") return address;
  throw new FlannelError(
    "USAGE",
    `--address must be the IP address under which other hosts reach this host, not "${text}"`,
  );
}

/** Checked by every rule an agent would apply. Throws `USAGE`. */
function readConfig({ config, network }: InitOptions): string {
  if (config !== undefined && network !== undefined) {
    throw new FlannelError("USAGE", "give --network or --config, not both: the file of --config names the network");
  }
  const made = JSON.stringify({ Network: network ?? "10.5.0.0/16", Backend: { Type: "vxlan" } });
  try {
    const text = config === undefined ? made : readFileSync(config, "utf8").trim();
    const parsed = parseConfig(text).config;
    createBackend(parsed);
    // Of a network that was named the agent reports an overlap; the operator may know better.
    if (config === undefined && network === undefined && parsed.ipv4 !== undefined) checkNoOverlap(parsed.ipv4.network);
    return text;
  } catch (cause) {
    if (hasCode(cause, "USAGE")) throw cause;
    const what = config === undefined ? `--network ${network}` : `--config ${config}`;
    throw new FlannelError("USAGE", `${what}: ${describeError(cause)}`, { cause, tellsCause: true });
  }
}
