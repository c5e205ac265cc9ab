// What is known of flannel on this host before anything is checked: from the running agent, from what it remembers, from the
// subnet file, and from the kernel. Every part may be missing.
import { readdirSync } from "node:fs";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { type Status, statusSchema } from "../../../agent/control/control-protocol.ts";
import { type RememberedState, WarmState } from "../../../agent/state/warm-state.ts";
import type { Backend, BackendPlan, HostFacts } from "../../../backend/backend.ts";
import { backends } from "../../../backend/registry.ts";
import type { NetworkConfig } from "../../../config/network-config.ts";
import { servedConfig } from "../../../config/served-config.ts";
import type { CheckContext } from "../../../doctor/check.ts";
import { withNetlink } from "../../../doctor/gather/kernel.ts";
import { describeError } from "../../../errors.ts";
import {
  type Address,
  type Family,
  familyOf,
  type Prefix,
  prefixAddress,
  tryParseAddress,
  tryParsePrefix,
} from "../../../ip/address.ts";
import { containsAddress, networkOf } from "../../../ip/prefix.ts";
import { type Lease, prefixesOf } from "../../../lease/lease.ts";
import type { LinkMessage } from "../../../netlink/rtnetlink/messages.ts";
import { storeIdentity } from "../../../store/store-identity.ts";
import { readSmallFile } from "../../../sys/files.ts";
import type { ExternalInterface } from "../../../underlay/external-interface.ts";
import { askAgent } from "../session/control-client.ts";
import type { GlobalOptions } from "../session/invocation.ts";
import { optionsOfNetwork } from "../session/one-network.ts";
import { storeOptions } from "../session/open-store.ts";

export interface KnownHost {
  /** Those of the network. */
  readonly options: GlobalOptions;
  /** Name of the network, where the agent serves several. */
  readonly network?: string;
  /** With the network's own entry alone. */
  readonly status?: Status;
  /** Why the agent did not answer. */
  readonly silence?: string;
  readonly subnetFile: string;
  readonly stateDirectory: string;
  readonly state?: RememberedState;
  /** Without our own. */
  readonly peers: readonly Lease[];
  readonly config?: NetworkConfig;
  readonly backend?: Backend;
  readonly facts?: HostFacts;
  readonly plan?: BackendPlan;
  readonly context?: CheckContext;
  readonly links: readonly LinkMessage[];
  readonly addresses: readonly HostAddress[];
}

interface HostAddress {
  readonly address: Prefix;
  readonly device: string;
}

/** The agent may look at this host first, and waits for that no longer than 1.15 s. */
const STATUS_WITHIN_MS = 2_400;
/** One that runs takes in a question much sooner. */
const STOPPED_AFTER_MS = 400;
const MAX_SUBNET_FILE_BYTES = 64 * 1_024;

/** The first network of this host, or the one that `--network` names. */
export async function knowHost(options: GlobalOptions, signal: AbortSignal): Promise<KnownHost> {
  return (await knowNetworks(options, signal))[0];
}

/** One for each network that the agent of this host serves, those in trouble first; never empty. `withinMs`: of the agent's answer. */
export async function knowNetworks(
  options: GlobalOptions,
  signal: AbortSignal,
  withinMs = STATUS_WITHIN_MS,
): Promise<readonly [KnownHost, ...KnownHost[]]> {
  const [agent, kernel] = await Promise.all([askForStatus(options, signal, withinMs), readKernel()]);
  const [first, ...others] = scopesOf(options, agent.status);
  if (first === undefined) return [know({ options, ...agent }, kernel)];
  const { status: _, ...silence } = agent;
  return [know({ ...silence, ...first }, kernel), ...others.map((scope) => know({ ...silence, ...scope }, kernel))];
}

type Scope = Pick<KnownHost, "options" | "network" | "status" | "silence">;

function scopesOf(options: GlobalOptions, status: Status | undefined): Scope[] {
  const { several, network } = options;
  if (status === undefined) {
    const names = several === undefined ? [] : subnetFilesIn(several.subnetDirectory);
    return names.map((name) => ({ options: optionsOfNetwork(options, name), network: name }));
  }
  if (network !== undefined) {
    const networks = status.networks.filter(({ name }) => name === network);
    return [{ options, network, status: { ...status, networks } }];
  }
  if (status.networks.length < 2) return [{ options, status }];
  const isInTrouble = ({ state }: Status["networks"][number]) => state !== undefined && state !== "ready";
  return status.networks
    .toSorted((a, b) => Number(isInTrouble(b)) - Number(isInTrouble(a)))
    .map((one) => ({
      options: optionsOfNetwork(options, one.name),
      network: one.name,
      status: { ...status, networks: [one] },
    }));
}

function subnetFilesIn(directory: string): string[] {
  try {
    return readdirSync(directory).flatMap((file) => (file.endsWith(".env") ? [file.slice(0, -".env".length)] : []));
  } catch {
    return [];
  }
}

function know(scope: Scope, kernel: Pick<KnownHost, "links" | "addresses">): KnownHost {
  const { options, status } = scope;
  const subnetFile = status?.networks[0]?.subnetFile ?? options.subnetFile;
  const stateDirectory = status?.agent.stateDirectory ?? options.stateDirectory;
  const { state, peers } = readState({ ...options, subnetFile, stateDirectory }, kernel);
  const variables = readVariables(subnetFile);
  const known: KnownHost = {
    ...scope,
    ...kernel,
    subnetFile,
    stateDirectory,
    peers,
    ...(state !== undefined && { state }),
  };
  const config = configOf(known, variables);
  const external = externalOf(known);
  if (config === undefined || external === undefined) return known;
  return { ...known, config, ...planOf(known, config, external, variables) };
}

async function askForStatus(
  { socketPaths }: GlobalOptions,
  signal: AbortSignal,
  withinMs: number,
): Promise<{ readonly status?: Status; readonly silence?: string }> {
  try {
    const request = {
      method: "GET",
      path: controlPaths.status,
      schema: statusSchema,
      ...{ timeoutMs: withinMs, stoppedAfterMs: STOPPED_AFTER_MS },
    } as const;
    return { status: await askAgent(socketPaths, request, signal) };
  } catch (error) {
    return { silence: describeError(error) };
  }
}

function readKernel(): Promise<Pick<KnownHost, "links" | "addresses">> {
  return withNetlink(async (netlink) => {
    const links = await netlink.dump("link");
    const names = new Map(links.map(({ index, name }) => [index, name]));
    const addresses = await netlink.dumpAs("address", {}, ({ index, address }) => ({
      address,
      device: names.get(index) ?? "?",
    }));
    return { links, addresses };
  });
}

function readState(
  options: GlobalOptions,
  { links, addresses }: Pick<KnownHost, "links" | "addresses">,
): { readonly state?: RememberedState; readonly peers: readonly Lease[] } {
  const { network, leaseCodec } = storeIdentity(storeOptions(options));
  const { stateDirectory: directory, subnetFile } = options;
  const warmState = new WarmState({ directory, subnetFile, networkId: network.id, leaseCodec, backends });
  const identity = {
    addresses: new Set<string>(addresses.map(({ address }) => prefixAddress(address))),
    macs: new Set(links.flatMap(({ mac, isLoopback }) => (mac === undefined || isLoopback ? [] : [mac]))),
  };
  const state = warmState.load(identity, () => undefined);
  if (state === undefined) return { peers: [] };
  return { state, peers: warmState.loadPeers().filter(({ key }) => key !== state.own.key) };
}

type Variables = ReadonlyMap<string, string>;

function readVariables(path: string): Variables {
  try {
    const text = readSmallFile(path, MAX_SUBNET_FILE_BYTES);
    return new Map(
      [...text.matchAll(/^(FLANNEL_\w+)=(.*)$/gm)].map(([, name = "", value = ""]) => [name, value.trim()]),
    );
  } catch {
    return new Map();
  }
}

/** As remembered; else as much of it as the subnet file and the devices of this host tell. */
function configOf({ state, status, links }: KnownHost, variables: Variables): NetworkConfig | undefined {
  const moduleOf = ({ name, kind }: LinkMessage) =>
    backends.modules.find(({ devicePatterns }) =>
      devicePatterns.some((each) => each.kind === kind && each.pattern.test(name)),
    );
  const device = links.find((link) => moduleOf(link) !== undefined);
  const made = device === undefined ? undefined : moduleOf(device);
  const type = status?.networks[0]?.backendType ?? made?.type ?? "host-gw";
  const network = variables.get("FLANNEL_NETWORK");
  const ipv6Network = variables.get("FLANNEL_IPV6_NETWORK");
  const guessed = JSON.stringify({
    ...(network === undefined ? { EnableIPv4: false } : { Network: network }),
    ...(ipv6Network !== undefined && { EnableIPv6: true, IPv6Network: ipv6Network }),
    Backend: { Type: type, ...(device?.vxlan !== undefined && { VNI: device.vxlan.vni, Port: device.vxlan.port }) },
  });
  const texts = [
    ...(state === undefined ? [] : [state.configText]),
    ...((network ?? ipv6Network) === undefined ? [] : [guessed]),
  ];
  for (const text of texts) {
    try {
      return backends.withGivenSubnets().parseConfig(text).config;
    } catch {
      // The next one may do.
    }
  }
  return undefined;
}

function externalOf({ status, state, links, addresses }: KnownHost): ExternalInterface | undefined {
  const told = status?.networks[0]?.externalInterface;
  const announced = new Set<string | undefined>([
    ...(state?.chosen?.addresses ?? []),
    state?.publicIp,
    state?.publicIpv6,
  ]);
  const holder = addresses.find(({ address }) => announced.has(prefixAddress(address)))?.device;
  const link =
    links.find(({ name }) => name === (told?.name ?? holder)) ??
    links.find(({ mac }) => mac !== undefined && mac === state?.interfaceMac);
  // The agent's word counts where the interface itself is gone: another one is not the one that it uses.
  const gone = told === undefined ? undefined : { name: told.name, index: 0, mtuBytes: told.mtuBytes, isUp: false };
  const usual = link ?? gone ?? links.find(({ kind, isLoopback }) => kind === undefined && !isLoopback);
  if (usual === undefined) return undefined;
  const of = (family: Family): Address | undefined => {
    const chosen = state?.chosen?.addresses.find((each) => familyOf(each) === family);
    if (chosen !== undefined) return chosen;
    const onIt = addresses.find(({ address, device }) => device === usual.name && familyOf(address) === family);
    return onIt === undefined ? undefined : prefixAddress(onIt.address);
  };
  const [address, ipv6Address] = [parsed(told?.address) ?? of(4), parsed(told?.ipv6Address) ?? of(6)];
  const publicIp = parsed(told?.publicIp) ?? state?.publicIp ?? address;
  const publicIpv6 = parsed(told?.publicIpv6) ?? state?.publicIpv6 ?? ipv6Address;
  return {
    ...{ name: usual.name, index: usual.index, mtuBytes: usual.mtuBytes, isUp: usual.isUp },
    ...(address !== undefined && { address }),
    ...(ipv6Address !== undefined && { ipv6Address }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
  };
}

function parsed(text: string | undefined): Address | undefined {
  return text === undefined ? undefined : tryParseAddress(text);
}

function planOf(
  known: KnownHost,
  config: NetworkConfig,
  externalInterface: ExternalInterface,
  variables: Variables,
): Pick<KnownHost, "backend" | "facts" | "plan" | "context"> {
  const { status, state, peers, addresses } = known;
  const own = ownSubnets(known, variables);
  const families = new Set<Family>([
    ...(config.ipv4 === undefined ? [] : [4 as const]),
    ...(config.ipv6 !== undefined && own.ipv6Subnet !== undefined ? [6 as const] : []),
  ]);
  const backend = backends.create(servedConfig(config, families));
  const facts: HostFacts = {
    externalInterface,
    identity: state?.identities[backend.type],
    directPeers: new Set(),
    occupied: [],
  };
  const held = prefixesOf(own);
  const mtuBytes = status?.networks[0]?.mtuBytes ?? Number(variables.get("FLANNEL_MTU") ?? backend.mtuBytes(facts));
  const devices = [...new Set(backend.devices)];
  const inside = addresses.filter(({ address, device }) => {
    return !devices.includes(device) && held.some((subnet) => containsAddress(subnet, prefixAddress(address)));
  });
  const context: CheckContext = {
    families,
    networks: [config.ipv4?.network, families.has(6) ? config.ipv6?.network : undefined].filter(
      (each) => each !== undefined,
    ),
    ownSubnets: held,
    earlierSubnets: (state?.earlierSubnets ?? []).filter((subnet) => !held.includes(subnet)),
    externalInterface,
    devices,
    insideDevices: [...new Set(inside.map(({ device }) => device))],
    usesExternalDirectly: devices.length === 0,
    overlayMtuBytes: mtuBytes,
    needs: backend.needs,
  };
  // Without an identity of this host its own objects cannot be named.
  if (state === undefined) return { backend, facts, context };
  return { backend, facts, context, plan: backend.plan(state.own, peers, facts) };
}

function ownSubnets({ status, state }: KnownHost, variables: Variables) {
  const lease = status?.networks[0]?.lease;
  const pick = (told: string | undefined, remembered: Prefix | undefined, variable: string): Prefix | undefined => {
    const text = told ?? remembered ?? variables.get(variable);
    const prefix = text === undefined ? undefined : tryParsePrefix(text);
    return prefix === undefined ? undefined : networkOf(prefix);
  };
  const subnet = pick(lease?.subnet, state?.own.subnet, "FLANNEL_SUBNET");
  const ipv6Subnet = pick(lease?.ipv6Subnet, state?.own.ipv6Subnet, "FLANNEL_IPV6_SUBNET");
  return { ...(subnet !== undefined && { subnet }), ...(ipv6Subnet !== undefined && { ipv6Subnet }) };
}
