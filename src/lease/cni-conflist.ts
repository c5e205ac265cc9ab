// A complete CNI network configuration list for this host, so that pods are attached without a plugin of flannel's: what
// the plugin `flannel` would hand to its delegate at each ADD stands in the list itself. Pure.
//
// The template has the form that flannel's manifests have had for years (`cni-conf.json`): a list in which plugins of type
// `flannel` have a `delegate` and perhaps `ipam`. All other plugins are taken over as they are.
import { FlannelError } from "../errors.ts";
import type { Prefix } from "../ip/address.ts";
import { networkOf } from "../ip/prefix.ts";
import { tryParseJson } from "../json/try-parse-json.ts";
import { isRecord, recordOf } from "../json/untyped-fields.ts";
import type { SubnetEnvContent } from "./subnet-env.ts";

type Json = Readonly<Record<string, unknown>>;

/** As upstream's manifest: the name decides where host-local keeps its addresses, so it stays what nodes have. */
export const defaultCniTemplate = JSON.stringify({
  name: "cbr0",
  cniVersion: "0.3.1",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
});

/** Text of the configuration list. Throws `CONFIG_INVALID` with the reason when the template cannot be used. */
export function renderCniConflist(template: string, content: SubnetEnvContent): string {
  const { name, cniVersion, plugins, ...rest } = readTemplate(template);
  const rendered = plugins.map((plugin) => (plugin["type"] === "flannel" ? delegateOf(plugin, content) : plugin));
  return `${JSON.stringify({ name, cniVersion, ...rest, plugins: rendered }, undefined, 2)}\n`;
}

export interface CniIdentity {
  readonly name: string;
  /** `dataDir` of host-local, if it is set. */
  readonly ipamDirectory?: string;
  /** The bridge of the plugin of that name, and the MTU that it is given, if it is not the network's. */
  readonly bridge?: { readonly name: string; readonly mtuBytes?: number };
}

/** What a template says of where its network's traces are on a host. Throws as `renderCniConflist`. */
export function identifyCniTemplate(template: string): CniIdentity {
  const { name, plugins } = readTemplate(template);
  const flannel = plugins.find(({ type }) => type === "flannel") ?? {};
  const [delegate, ipam] = [recordOf(flannel["delegate"]), recordOf(flannel["ipam"])];
  const { type = "bridge", bridge = "cni0", mtu } = delegate;
  const { dataDir } = ipam;
  return {
    name,
    ...(typeof dataDir === "string" && dataDir !== "" && { ipamDirectory: dataDir }),
    ...(type === "bridge" &&
      typeof bridge === "string" && { bridge: { name: bridge, ...(typeof mtu === "number" && { mtuBytes: mtu }) } }),
  };
}

/** The same of a list that we rendered, or an administrator wrote; undefined when it has no addresses of host-local. */
export function identifyConflist(text: string): Pick<CniIdentity, "name" | "ipamDirectory"> | undefined {
  const { name, plugins } = recordOf(tryParseJson(text));
  if (typeof name !== "string" || name === "" || !Array.isArray(plugins)) return undefined;
  const ipam = plugins.map((plugin) => recordOf(recordOf(plugin)["ipam"])).find(({ type }) => type === "host-local");
  if (ipam === undefined) return undefined;
  const { dataDir } = ipam;
  return { name, ...(typeof dataDir === "string" && dataDir !== "" && { ipamDirectory: dataDir }) };
}

/**
 * Whether the text is a list that we rendered for one of these subnets: another program may have written the file since,
 * upstream's manifest for one. Never throws.
 */
export function isRenderedConflist(text: string, subnets: readonly Prefix[]): boolean {
  const { plugins } = recordOf(tryParseJson(text));
  if (!Array.isArray(plugins)) return false;
  const known: readonly string[] = subnets.map((subnet) => networkOf(subnet));
  return plugins.some((plugin) => {
    const { ranges } = recordOf(recordOf(plugin)["ipam"]);
    return Array.isArray(ranges) && ranges.flat().some((range) => known.includes(String(recordOf(range)["subnet"])));
  });
}

/** The bridges that the plugins of a list make on the host; none for text that is no list. Never throws. */
export function bridgesOf(text: string): readonly string[] {
  const { plugins } = recordOf(tryParseJson(text));
  if (!Array.isArray(plugins)) return [];
  const bridges = plugins.map(recordOf).filter(({ type }) => type === "bridge");
  return bridges.map(({ bridge = "cni0" }) => bridge).filter((name) => typeof name === "string");
}

interface Template extends Json {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly Json[];
}

function readTemplate(text: string): Template {
  const value = tryParseJson(text);
  if (value === undefined) throw unusable("it is not JSON");
  if (!isRecord(value)) throw unusable("it is not a JSON object");
  const { name, cniVersion = "0.3.1", plugins = [withoutListKeys(value)], ...rest } = value;
  if (typeof name !== "string" || name === "") throw unusable("it has no name");
  if (typeof cniVersion !== "string") throw unusable("cniVersion is not a string");
  if (!Array.isArray(plugins) || plugins.length === 0) throw unusable("plugins is not a list of plugins");
  for (const plugin of plugins) {
    if (!isRecord(plugin) || typeof plugin["type"] !== "string") throw unusable("a plugin has no type");
  }
  // A configuration of a single plugin, as flannel's manifests had them at first.
  if (value["plugins"] === undefined) return { name, cniVersion, plugins };
  return { ...rest, name, cniVersion, plugins };
}

function withoutListKeys({ name: _, cniVersion: _version, ...plugin }: Json): Json {
  return plugin;
}

/** What the plugin `flannel` hands to its delegate, without what the runtime adds to each plugin of a list. */
function delegateOf({ delegate = {}, ipam = {} }: Json, content: SubnetEnvContent): Json {
  if (!isRecord(delegate)) throw unusable("the delegate of plugin flannel is not an object");
  if (!isRecord(ipam)) throw unusable("ipam of plugin flannel is not an object");
  for (const key of ["name", "ipam"]) {
    if (key in delegate) throw unusable(`the delegate of plugin flannel must not have ${key}: flannel sets it`);
  }
  const { type = "bridge" } = delegate;
  if (typeof type !== "string") throw unusable("the type of the delegate is not a string");
  const { ranges: _, routes = [], ...givenIpam } = ipam;
  if (!Array.isArray(routes)) throw unusable("ipam.routes is not a list");
  const { mtu = content.mtuBytes } = delegate;
  const used = networksOf(content, typeof mtu === "number" ? mtu : content.mtuBytes);
  return {
    type,
    ipMasq: !content.ipMasq,
    mtu: content.mtuBytes,
    ...(type === "bridge" && { isGateway: true }),
    ...delegate,
    ipam: {
      type: "host-local",
      ...givenIpam,
      ranges: used.map(({ subnet }) => [{ subnet }]),
      routes: [...routes, ...used.map(routeOf)],
    },
  };
}

function routeOf({ network, routeMtuBytes }: { readonly network: string; readonly routeMtuBytes?: number }): Json {
  return { dst: network, ...(routeMtuBytes !== undefined && { mtu: routeMtuBytes }) };
}

/** Each family in use. All containers' interfaces have one MTU; a family that has less room gets it by its route. */
function networksOf(
  { config, subnets, mtuBytes, ipv6MtuBytes = mtuBytes }: SubnetEnvContent,
  interfaceMtuBytes: number,
) {
  // host-local hands it on as of version 1.5 of the standard plugins; earlier ones ignore it.
  const routeMtu = ipv6MtuBytes < interfaceMtuBytes ? { routeMtuBytes: ipv6MtuBytes } : {};
  const families = [
    { network: config.ipv4?.network, subnet: subnets.subnet },
    { network: config.ipv6?.network, subnet: subnets.ipv6Subnet, ...routeMtu },
  ];
  return families.flatMap(({ network, subnet, ...rest }) =>
    network === undefined || subnet === undefined ? [] : [{ network, subnet: networkOf(subnet), ...rest }],
  );
}

function unusable(reason: string): FlannelError {
  return new FlannelError("CONFIG_INVALID", `the CNI template cannot be used: ${reason}`, { retryable: true });
}
