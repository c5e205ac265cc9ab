// Parses the network configuration as flannel v0.28 does (Go's JSON rules, then CheckNetworkConfig), and says what is
// odd in it. Pure.
import { describeError } from "../errors.ts";
import {
  type Address,
  addressBits,
  type Family,
  familyOf,
  makePrefix,
  type Prefix,
  prefixLength,
  tryParseAddress,
  tryParsePrefix,
} from "../ip/address.ts";
import { networkOf } from "../ip/prefix.ts";
import { type JsonEntry, jsonEntries, jsonTypeOf } from "../json/json-entries.ts";
import { describeJsonError } from "../json/json-error.ts";
import { didYouMean, foldKey } from "../json/nearest.ts";
import { invalid, type PoolUse, resolvePool } from "./address-pool.ts";
import type { BackendKey, BackendKeysOf } from "./backend-key.ts";
import type { ConfigWarning, MasqueradeExclude, NetworkConfig, RoutingRule } from "./network-config.ts";
import { networkConfigKeys } from "./network-config-keys.ts";
import { decodeRoutingRules, decodeRoutingTable, resolveRouting } from "./routing-table.ts";

export interface ParsedNetworkConfig {
  readonly config: NetworkConfig;
  readonly warnings: readonly ConfigWarning[];
}

/** flannel's own configurations are well under 1 KiB; the bound keeps a hostile one from costing anything. */
const MAX_TEXT_LENGTH = 64 * 1024;
const MAX_WARNINGS = 20;
const MAX_EXCLUSIONS = 1_000;

/** The JSON fields as decoded, before any rule between them is applied. */
interface RawConfig {
  enableIpv4: boolean;
  enableIpv6: boolean;
  enableNftables: boolean;
  masqueradeExclude?: MasqueradeExclude;
  network?: Prefix;
  subnetLength: number;
  subnetMin?: Address;
  subnetMax?: Address;
  ipv6Network?: Prefix;
  ipv6SubnetLength: number;
  ipv6SubnetMin?: Address;
  ipv6SubnetMax?: Address;
  routingTable?: number | undefined;
  routingRules: readonly RoutingRule[];
  backend?: JsonEntry;
}

/**
 * Throws `CONFIG_INVALID` with details {key, value, rule}. Keys compare case-insensitively and the last of duplicates
 * wins. Whether the backend exists and accepts its keys is for `createBackend` to say. Callers above the backends use
 * `parseConfig` of the registry, which knows their keys.
 */
export function parseNetworkConfig(
  text: string,
  backendKeysOf: BackendKeysOf,
  pools: PoolUse = "leased",
): ParsedNetworkConfig {
  const warnings: ConfigWarning[] = [];
  const raw: RawConfig = {
    enableIpv4: true,
    enableIpv6: false,
    enableNftables: false,
    subnetLength: 0,
    ipv6SubnetLength: 0,
    routingRules: [],
  };
  for (const entry of readEntries(text)) decodeEntry(raw, entry, warnings);
  const { backendType, backend } = readBackend(raw.backend, backendKeysOf, warnings);
  if (!raw.enableIpv4 && !raw.enableIpv6) {
    throw invalid("EnableIPv4", false, "disables the only address family: set EnableIPv4 or EnableIPv6 to true");
  }
  warnAboutUnusedFamily(raw, warnings);
  const families = new Set<Family>([...(raw.enableIpv4 ? [4 as const] : []), ...(raw.enableIpv6 ? [6 as const] : [])]);
  const routing = resolveRouting(raw.routingTable, raw.routingRules, families);
  const config: NetworkConfig = Object.freeze({
    ...(raw.enableIpv4 && { ipv4: Object.freeze(resolvePool(4, raw, pools)) }),
    ...(raw.enableIpv6 && {
      ipv6: Object.freeze(
        resolvePool(
          6,
          {
            ...(raw.ipv6Network !== undefined && { network: raw.ipv6Network }),
            subnetLength: raw.ipv6SubnetLength,
            ...(raw.ipv6SubnetMin !== undefined && { subnetMin: raw.ipv6SubnetMin }),
            ...(raw.ipv6SubnetMax !== undefined && { subnetMax: raw.ipv6SubnetMax }),
          },
          pools,
        ),
      ),
    }),
    enableNftables: raw.enableNftables,
    ...(raw.masqueradeExclude !== undefined && { masqueradeExclude: raw.masqueradeExclude }),
    ...(routing !== undefined && { routing }),
    backendType,
    backend,
  });
  return { config, warnings: warnings.slice(0, MAX_WARNINGS) };
}

function readEntries(text: string): JsonEntry[] {
  if (text.length > MAX_TEXT_LENGTH) {
    throw invalid("(document)", undefined, `is longer than ${MAX_TEXT_LENGTH} characters`);
  }
  try {
    return jsonEntries(text);
  } catch (error) {
    if (error instanceof SyntaxError) {
      // Without its cause: the engine's message quotes the text around the place, which may be a secret.
      throw invalid("(document)", undefined, `is not valid JSON: ${describeJsonError(text)}`);
    }
    throw invalid("(document)", undefined, `cannot be used: ${describeError(error)}`);
  }
}

function decodeEntry(raw: RawConfig, entry: JsonEntry, warnings: ConfigWarning[]): void {
  const name = networkConfigKeys.find((key) => foldKey(key.name) === foldKey(entry.key))?.name;
  switch (name) {
    case "EnableIPv4":
      raw.enableIpv4 = decodeBool(name, entry) ?? raw.enableIpv4;
      break;
    case "EnableIPv6":
      raw.enableIpv6 = decodeBool(name, entry) ?? raw.enableIpv6;
      break;
    case "EnableNFTables":
      raw.enableNftables = decodeBool(name, entry) ?? raw.enableNftables;
      break;
    case "MasqueradeExclude":
      raw.masqueradeExclude = decodeExclusions(name, entry);
      break;
    case "Network":
      raw.network = decodePrefix(name, entry, 4);
      break;
    case "SubnetLen":
      raw.subnetLength = decodeLength(name, entry) ?? raw.subnetLength;
      break;
    case "SubnetMin":
      raw.subnetMin = decodeAddress(name, entry, 4);
      break;
    case "SubnetMax":
      raw.subnetMax = decodeAddress(name, entry, 4);
      break;
    case "IPv6Network":
      raw.ipv6Network = decodePrefix(name, entry, 6);
      break;
    case "IPv6SubnetLen":
      raw.ipv6SubnetLength = decodeLength(name, entry) ?? raw.ipv6SubnetLength;
      break;
    case "IPv6SubnetMin":
      raw.ipv6SubnetMin = decodeNullableAddress(name, entry);
      break;
    case "IPv6SubnetMax":
      raw.ipv6SubnetMax = decodeNullableAddress(name, entry);
      break;
    case "RoutingTable":
      raw.routingTable = decodeRoutingTable(name, entry) ?? raw.routingTable;
      break;
    case "RoutingRules":
      raw.routingRules = decodeRoutingRules(name, entry);
      break;
    case "Backend":
      raw.backend = entry;
      break;
    default:
      warnings.push(
        unknownKey(
          "",
          entry.key,
          networkConfigKeys.map((key) => key.name),
        ),
      );
  }
}

function decodeExclusions(key: string, { value }: JsonEntry): MasqueradeExclude {
  if (value === null) return { prefixes: [], nodes: false };
  if (!Array.isArray(value) || value.length > MAX_EXCLUSIONS) {
    throw invalid(key, value, `must be a list of at most ${MAX_EXCLUSIONS} prefixes and the word "nodes"`);
  }
  const prefixes = new Set<Prefix>();
  for (const entry of value.filter((item) => item !== "nodes")) {
    const text = typeof entry === "string" ? entry : "";
    const address = tryParseAddress(text);
    const prefix = address === undefined ? tryParsePrefix(text) : makePrefix(address, addressBits(familyOf(address)));
    if (prefix === undefined || prefixLength(prefix) === 0) {
      throw invalid(key, entry, 'must hold prefixes such as "192.168.0.0/16", addresses, and the word "nodes"');
    }
    prefixes.add(networkOf(prefix));
  }
  return Object.freeze({ prefixes: Object.freeze([...prefixes]), nodes: value.includes("nodes") });
}

/** Go leaves a plain field alone when the document says null. */
function decodeBool(key: string, { value }: JsonEntry): boolean | undefined {
  if (value === null) return undefined;
  if (typeof value !== "boolean") throw invalid(key, value, `must be true or false, not a JSON ${jsonTypeOf(value)}`);
  return value;
}

function decodeLength(key: string, { value, raw }: JsonEntry): number | undefined {
  if (value === null) return undefined;
  if (typeof value !== "number" || !/^\d+$/.test(raw)) {
    throw invalid(key, typeof value === "number" ? raw : value, "must be a whole number, written in digits");
  }
  return value;
}

function decodePrefix(key: string, { value }: JsonEntry, family: Family): Prefix {
  const prefix = typeof value === "string" ? tryParsePrefix(value) : undefined;
  if (prefix === undefined || familyOf(prefix) !== family) {
    const example = family === 4 ? "10.5.0.0/16" : "fd00:10:5::/48";
    throw invalid(key, value, `must be an IPv${family} prefix such as "${example}"`);
  }
  return prefix;
}

function decodeAddress(key: string, { value }: JsonEntry, family: Family): Address {
  const address = typeof value === "string" ? tryParseAddress(value) : undefined;
  if (address === undefined || familyOf(address) !== family) {
    throw invalid(key, value, `must be an IPv${family} address in quotes`);
  }
  return address;
}

/** The IPv6 bounds are pointers in flannel: null takes them away. The zero address means the same as leaving them out. */
function decodeNullableAddress(key: string, entry: JsonEntry): Address {
  return entry.value === null ? ("::" as Address) : decodeAddress(key, entry, 6);
}

interface RawBackend {
  readonly backendType: string;
  readonly backend: Readonly<Record<string, unknown>>;
}

function readBackend(
  entry: JsonEntry | undefined,
  backendKeysOf: BackendKeysOf,
  warnings: ConfigWarning[],
): RawBackend {
  // flannel's default; the registry says whether this version has it.
  if (entry === undefined) return { backendType: "udp", backend: Object.freeze({}) };
  const type = jsonTypeOf(entry.value);
  if (type !== "object") {
    // What is in a list may be a secret.
    const shown = type === "array" ? undefined : entry.value;
    throw invalid("Backend", shown, `must be an object with a Type, not a JSON ${type}`);
  }
  const values = new Map<string, readonly [key: string, entry: JsonEntry]>();
  for (const member of jsonEntries(entry.raw)) {
    const folded = foldKey(member.key);
    if (member.value === null && values.has(folded)) continue; // null leaves the earlier value, as in Go
    values.set(folded, [member.key, member]);
  }
  const backendType = values.get("type")?.[1].value ?? "";
  if (typeof backendType !== "string") throw invalid("Backend.Type", backendType, "must be a string");
  if (backendType === "") throw invalid("Backend.Type", undefined, 'is missing: name one, such as "vxlan"');
  const loweredType = backendType.toLowerCase();
  checkBackendKeys(
    backendKeysOf(loweredType),
    [...values.values()].map(([, member]) => member),
    warnings,
  );
  const members = [...values.values()].map(([key, member]) => [key, member.value] as const);
  return { backendType: loweredType, backend: Object.freeze(Object.fromEntries(members)) };
}

function checkBackendKeys(
  keys: readonly BackendKey[] | undefined,
  members: readonly JsonEntry[],
  warnings: ConfigWarning[],
): void {
  if (keys === undefined) return;
  const names = ["Type", ...keys.map((key) => key.name)];
  for (const member of members) {
    const key = keys.find(({ name }) => foldKey(name) === foldKey(member.key));
    if (key?.type === "int" && typeof member.value === "number" && !/^-?\d+$/.test(member.raw)) {
      throw invalid(`Backend.${key.name}`, member.raw, "must be a whole number, written in digits");
    }
    if (!names.some((name) => foldKey(name) === foldKey(member.key))) {
      warnings.push(unknownKey("Backend.", member.key, names));
    }
  }
}

function unknownKey(parent: string, key: string, known: readonly string[]): ConfigWarning {
  const shown = key.length > 60 ? `${key.slice(0, 57)}...` : key;
  const where = parent === "" ? "the network config" : "Backend";
  const message = `${JSON.stringify(shown)} is not a key of ${where}: ignoring it${didYouMean(key, known, parent)}`;
  return { path: parent + shown, message };
}

function warnAboutUnusedFamily(raw: RawConfig, warnings: ConfigWarning[]): void {
  if (!raw.enableIpv6 && raw.ipv6Network !== undefined) {
    warnings.push({ path: "IPv6Network", message: "ignoring IPv6Network, because EnableIPv6 is not true" });
  }
  if (!raw.enableIpv4 && raw.network !== undefined) {
    warnings.push({ path: "Network", message: "ignoring Network, because EnableIPv4 is false" });
  }
}
