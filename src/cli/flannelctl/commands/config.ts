// `flannelctl config`: reads, checks and replaces the network configuration in the store.
import { readFile } from "node:fs/promises";
import { type BackendRegistry, backends } from "../../../backend/registry.ts";
import type { NetworkConfig } from "../../../config/network-config.ts";
import type { ParsedNetworkConfig } from "../../../config/parse-network-config.ts";
import { FlannelError, hasCode, isCancelled } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import type { Prefix } from "../../../ip/address.ts";
import { containsPrefix } from "../../../ip/prefix.ts";
import type { Lease } from "../../../lease/lease.ts";
import type { LeaseAdministration } from "../../../store/lease-administration.ts";
import { printableDocument } from "../../../terminal/foreign-text.ts";
import { count, formatPairs, type Paint } from "../../../terminal/text.ts";
import { type Invocation, present, remark } from "../session/invocation.ts";
import {
  type ConfigCheckOutput,
  configCheckOutputSchema,
  configGetOutputSchema,
  configSetOutputSchema,
  type ResolvedConfig,
} from "../session/json-output.ts";
import { withNetworkStore } from "../session/open-store.ts";
import { configImpact } from "./config-impact.ts";
import { HIDDEN, hideSecrets, restoreSecrets } from "./config-secrets.ts";

/** Prints the stored text with its lines, so that it can be piped into an editor and back into `config set`. */
export async function getConfig(
  invocation: Invocation,
  { showSecrets }: { readonly showSecrets: boolean },
): Promise<ExitCode> {
  const document = await withNetworkStore(invocation, (store) => store.networkConfig(invocation.signal));
  const text = showSecrets ? document.text : hideSecrets(document.text);
  const output = { configText: text, revision: String(document.revision) };
  if (invocation.options.json) present(invocation, configGetOutputSchema, output, () => []);
  else invocation.terminal.writeOut(`${printableDocument(text).replace(/\n$/, "")}\n`);
  return exitCodes.ok;
}

/** 0 when valid without any warning, else 1. Without a file the stored configuration is checked. */
export async function checkConfig(invocation: Invocation, file: string | undefined): Promise<ExitCode> {
  const text =
    file === undefined
      ? (await withNetworkStore(invocation, (store) => store.networkConfig(invocation.signal))).text
      : await readConfigFile(invocation, file);
  const output = check(text, backendsFor(invocation));
  present(invocation, configCheckOutputSchema, output, renderCheck);
  return output.valid && output.warnings.length === 0 ? exitCodes.ok : exitCodes.failure;
}

/** Stores a valid configuration by compare-and-set against what was there when the checks were made. */
export async function setConfig(
  invocation: Invocation,
  file: string,
  { force }: { readonly force: boolean },
): Promise<ExitCode> {
  const text = await withNetworkStoredSecrets(invocation, (await readConfigFile(invocation, file)).trim());
  const { config, warnings: odd } = parse(text, backendsFor(invocation));
  const warnings = [...odd];
  for (const { message } of odd) remark(invocation, `warning: ${message}`);
  const { signal } = invocation;
  const output = await withNetworkStore(invocation, async (store) => {
    const stored = await storedConfig(store, signal);
    if (stored?.text === text) return { changed: false, revision: stored.revision };
    const leases = await store.list(signal);
    if (!force) refuseOtherNetwork(config, stored?.text, leases);
    for (const warning of configImpact(config, leases)) {
      remark(invocation, `warning: ${warning.message}`);
      warnings.push(warning);
    }
    const { revision } = await store.setConfig(text, stored?.revision, signal);
    return { changed: true, revision };
  });
  present(
    invocation,
    configSetOutputSchema,
    { changed: output.changed, revision: String(output.revision), warnings, config: resolved(config) },
    ({ changed, config: shown }) => [changed ? "stored:" : "already stored:", ...describeConfig(shown)],
  );
  return exitCodes.ok;
}

/** So that what `config get` printed can be stored again. */
async function withNetworkStoredSecrets(invocation: Invocation, text: string): Promise<string> {
  if (!text.includes(HIDDEN)) return text;
  const { signal } = invocation;
  const stored = await withNetworkStore(invocation, (store) => storedConfig(store, signal));
  return restoreSecrets(text, stored?.text);
}

async function storedConfig(store: LeaseAdministration, signal: AbortSignal) {
  try {
    return await store.networkConfig(signal);
  } catch (error) {
    if (hasCode(error, "CONFIG_MISSING")) return undefined;
    throw error;
  }
}

/** Where Kubernetes gives Nodes their subnets, the limits of what is leased mean nothing. */
function backendsFor({ options }: Invocation): BackendRegistry {
  return options.kubernetes === undefined ? backends : backends.withGivenSubnets();
}

function check(text: string, registry: BackendRegistry): ConfigCheckOutput {
  try {
    const { config, warnings } = parse(text, registry);
    return { valid: true, errors: [], warnings: [...warnings], config: resolved(config) };
  } catch (error) {
    if (!hasCode(error, "CONFIG_INVALID")) throw error;
    return { valid: false, errors: [error.message], warnings: [] };
  }
}

/** Every rule an agent would apply: the document's own, and its backend's. Throws `CONFIG_INVALID`. */
function parse(text: string, registry: BackendRegistry): ParsedNetworkConfig {
  const parsed = registry.parseConfig(text);
  registry.create(parsed.config);
  return parsed;
}

/** Hosts keep their leases; in another network those would be outside of it, and each host would get a new subnet, or none. */
function refuseOtherNetwork(config: NetworkConfig, storedText: string | undefined, leases: readonly Lease[]): void {
  if (leases.length === 0) return;
  const stored = storedText === undefined ? undefined : tryParse(storedText);
  for (const [key, pool, family] of [
    ["Network", "ipv4", "IPv4"],
    ["IPv6Network", "ipv6", "IPv6"],
  ] as const) {
    const [before, after] = [stored?.[pool]?.network, config[pool]?.network];
    if (stored === undefined ? coversAll(after, pool, leases) : before === undefined || before === after) continue;
    throw new FlannelError(
      "CONFIG_CONFLICT",
      `will not ${changeText(key, before, after)} while ${count(leases.length, "lease")} exist${leases.length === 1 ? "s" : ""}: ` +
        (after === undefined
          ? `every host would lose its ${family} subnet when its agent restarts; with --force it does`
          : `every host would get another ${family} subnet when its agent restarts; stop the agents and release the leases ` +
            "first, or use --force"),
    );
  }
}

function changeText(key: string, before: Prefix | undefined, after: Prefix | undefined): string {
  if (after === undefined) return before === undefined ? `leave ${key} out` : `take ${key} ${before} away`;
  return before === undefined ? `set ${key} to ${after}` : `change ${key} from ${before} to ${after}`;
}

function tryParse(text: string): NetworkConfig | undefined {
  try {
    return backends.parseConfig(text).config;
  } catch {
    return undefined;
  }
}

/** What there is to go by when the stored configuration is missing or unreadable. */
function coversAll(network: Prefix | undefined, pool: "ipv4" | "ipv6", leases: readonly Lease[]): boolean {
  const subnets = leases.flatMap((lease) => (pool === "ipv4" ? lease.subnet : lease.ipv6Subnet) ?? []);
  return subnets.every((subnet) => network !== undefined && containsPrefix(network, subnet));
}

async function readConfigFile(invocation: Invocation, file: string): Promise<string> {
  if (file === "-") return invocation.terminal.readInput();
  try {
    return await readFile(file, { encoding: "utf8", signal: invocation.signal });
  } catch (cause) {
    if (isCancelled(cause)) throw cause;
    throw new FlannelError("FILE_FAILED", "cannot read the network configuration", { cause });
  }
}

function resolved(config: NetworkConfig): ResolvedConfig {
  const { ipv4, ipv6, backendType, enableNftables } = config;
  return {
    ...(ipv4 !== undefined && { ipv4: { ...ipv4 } }),
    ...(ipv6 !== undefined && { ipv6: { ...ipv6 } }),
    backendType,
    enableNftables,
  };
}

function renderCheck(output: ConfigCheckOutput, paint: Paint): string[] {
  const verdict = output.valid ? paint.good("valid") : paint.bad("not valid");
  return [
    `the network configuration is ${verdict}${output.warnings.length > 0 ? paint.warn(", with warnings") : ""}`,
    ...output.errors.map((message) => `  ${paint.bad("error")} ${message}`),
    ...output.warnings.map(({ message }) => `  ${paint.warn("warning")} ${message}`),
    ...(output.config === undefined ? [] : describeConfig(output.config)),
  ];
}

function describeConfig({ ipv4, ipv6, backendType, enableNftables }: ResolvedConfig): string[] {
  return formatPairs([
    ["Network", ipv4?.network],
    ["subnets", describePool(ipv4)],
    ["IPv6Network", ipv6?.network],
    ["IPv6 subnets", describePool(ipv6)],
    ["backend", backendType],
    ["rules", enableNftables ? "nftables" : "iptables"],
  ]);
}

function describePool(pool: ResolvedConfig["ipv4"]): string | undefined {
  return pool && `/${pool.subnetLength}, from ${pool.subnetMin} to ${pool.subnetMax}`;
}
