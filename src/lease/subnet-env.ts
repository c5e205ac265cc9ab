// The text of subnet.env, through which Docker, the CNI plugin and we ourselves after a restart learn the subnet. Pure.
import type { NetworkConfig } from "../config/network-config.ts";
import {
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  prefixAddress,
  prefixLength,
  tryParsePrefix,
} from "../ip/address.ts";
import { addToAddress, networkOf } from "../ip/prefix.ts";
import type { LeasedSubnets } from "./lease.ts";

export interface SubnetEnvContent {
  readonly config: NetworkConfig;
  readonly subnets: LeasedSubnets;
  /** Overlay MTU. */
  readonly mtuBytes: number;
  /** Where IPv6 packets have less room than that. */
  readonly ipv6MtuBytes?: number;
  readonly ipMasq: boolean;
}

/** Says that no container is to be attached, and why; see attach-hold.ts. */
export function attachHoldFile(subnetFile: string): string {
  return `${subnetFile}.not-ready`;
}

/** The plugin `flannel` notes in it the codes of ADDs that it refused, while it is there: see cni-metrics.ts. */
export function attachErrorFile(subnetFile: string): string {
  return `${subnetFile}.cni-errors`;
}

/** Lines exactly as flannel v0.28 writes them: the families that are enabled, then MTU and IPMASQ. */
export function renderSubnetEnv({ config, subnets, mtuBytes, ipMasq }: SubnetEnvContent): string {
  const lines: string[] = [];
  if (config.ipv4 !== undefined && subnets.subnet !== undefined) {
    lines.push(`FLANNEL_NETWORK=${config.ipv4.network}`, `FLANNEL_SUBNET=${gatewayOf(subnets.subnet)}`);
  }
  if (config.ipv6 !== undefined && subnets.ipv6Subnet !== undefined) {
    lines.push(`FLANNEL_IPV6_NETWORK=${config.ipv6.network}`, `FLANNEL_IPV6_SUBNET=${gatewayOf(subnets.ipv6Subnet)}`);
  }
  lines.push(`FLANNEL_MTU=${mtuBytes}`, `FLANNEL_IPMASQ=${ipMasq}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** The address after the network address, which the host's bridge takes. */
function gatewayOf(subnet: Prefix): Prefix {
  return makePrefix(addToAddress(prefixAddress(subnet), 1n), prefixLength(subnet));
}

export interface ReadSubnets {
  readonly subnets: LeasedSubnets;
  readonly warnings: readonly string[];
}

/**
 * The leased subnets a subnet.env tells of, host bits cleared. Never throws: what cannot be read is left out with a
 * warning, as is a variable that names several subnets.
 */
export function parseSubnetEnv(text: string): ReadSubnets {
  const variables = readVariables(text);
  const warnings: string[] = [];
  const subnet = readSubnet("FLANNEL_SUBNET", 4, variables, warnings);
  const ipv6Subnet = readSubnet("FLANNEL_IPV6_SUBNET", 6, variables, warnings);
  return { subnets: { ...(subnet && { subnet }), ...(ipv6Subnet && { ipv6Subnet }) }, warnings };
}

function readSubnet(
  name: string,
  family: Family,
  variables: ReadonlyMap<string, string>,
  warnings: string[],
): Prefix | undefined {
  const value = variables.get(name);
  if (value === undefined || value === "") return undefined;
  const subnets: Prefix[] = [];
  for (const part of value.split(",", 100)) {
    const prefix = tryParsePrefix(part.trim());
    if (prefix !== undefined && familyOf(prefix) === family) subnets.push(networkOf(prefix));
    else warnings.push(`${name}: ${JSON.stringify(part.slice(0, 60))} is not an IPv${family} subnet: ignoring it`);
  }
  if (subnets.length > 1) {
    warnings.push(`${name} has ${subnets.length} subnets: ignoring it, because a host has one`);
    return undefined;
  }
  return subnets[0];
}

const assignment = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*[=:]\s*(.*?)\s*$/;

/** Reads what a dotenv file may contain: comments, `export`, `KEY: value`, quotes, `$KEY` of an earlier line. */
function readVariables(text: string): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [, name, raw] = assignment.exec(line) ?? [];
    if (name !== undefined && raw !== undefined) variables.set(name, readValue(raw, variables));
  }
  return variables;
}

function readValue(raw: string, variables: ReadonlyMap<string, string>): string {
  const single = /^'([^']*)'/.exec(raw);
  if (single !== null) return single[1] ?? "";
  const double = /^"((?:[^"\\]|\\.)*)"/.exec(raw);
  const value =
    double === null ? raw.replace(/(^|\s)#.*$/, "").trimEnd() : (double[1] ?? "").replaceAll(/\\(.)/g, "$1");
  const expanded = value.replaceAll(
    /\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?/g,
    (_, name: string) => variables.get(name) ?? "",
  );
  return expanded.slice(0, MAX_VALUE_LENGTH);
}

/** Bounds what repeated expansion can grow to. */
const MAX_VALUE_LENGTH = 4096;
