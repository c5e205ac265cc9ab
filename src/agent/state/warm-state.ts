// What the agent remembers across restarts, so that a host which boots while the store is away gets its subnet and its
// peers at once. One file per agent in the state directory, the peers in a second one (read only when needed).
// State that is not this agent's on this host is ignored: a cloned disk must not make two hosts share a lease.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { RuntimeMemory } from "../../backend/backend.ts";
import { type Identities, identityFields, readIdentityFields } from "../../backend/identities.ts";
import type { BackendRegistry } from "../../backend/registry.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { type Address, type Prefix, tryParseAddress, tryParsePrefix } from "../../ip/address.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { isRecord } from "../../json/untyped-fields.ts";
import type { Lease, LeaseCodec } from "../../lease/lease.ts";
import { ensureDirectory, isMissingFile, readSmallFile, writeFileAtomically } from "../../sys/files.ts";

export interface RememberedState {
  /** Network configuration as the store had it. */
  readonly configText: string;
  readonly own: Lease;
  /** What the backends keep of this host. May hold secrets. */
  readonly identities: Identities;
  /** Devices we made: those a later configuration no longer wants are removed. */
  readonly devices: readonly string[];
  /** Of leases this host had before: bridges and containers may still have addresses of them. */
  readonly earlierSubnets?: readonly Prefix[];
  /** Where the store was reached. */
  readonly storeAddresses?: readonly Address[];
  /** The CNI configuration that we write (`--cni-conf-file`). */
  readonly cniFile?: string;
  /** The file by which systemd removes it at boot (`--cni-boot-file`). */
  readonly cniBootFile?: string;
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
  /** MAC of the external interface: tells this host from a clone after a change of address. */
  readonly interfaceMac?: string;
  /** The addresses chosen on the external interface, and the flags by which; missing in files of earlier versions. */
  readonly chosen?: { readonly flags: string; readonly addresses: readonly Address[] };
}

export interface WarmStateOptions {
  readonly directory: string;
  readonly subnetFile: string;
  /** Tells the networks on one host apart; see NetworkIdentity. */
  readonly networkId: string;
  /** Of the store that the leases are from. */
  readonly leaseCodec: LeaseCodec;
  readonly backends: BackendRegistry;
}

/** Addresses and MACs found on this host's interfaces, and addresses it is configured to announce. */
export interface HostIdentity {
  readonly addresses: ReadonlySet<string>;
  readonly macs: ReadonlySet<string>;
}

const FORMAT_VERSION = 1;
const LEASES_PER_SLICE = 1_000;
/** Far more than is ever written. */
const MAX_LISTED = 1_000;
/** Far more than is ever written: some 300 bytes for each peer, and their data. */
const MAX_MEMORY_BYTES = 64 * 1024 * 1024;

export class WarmState {
  readonly #options: WarmStateOptions;
  /** File name without extension of the state in use. */
  #name: string | undefined;

  constructor(options: WarmStateOptions) {
    this.#options = options;
  }

  /** The state of this agent on this host, if there is one. Unreadable or foreign files are reported through `onIgnored`. */
  load(identity: HostIdentity, onIgnored: (file: string, reason: string) => void): RememberedState | undefined {
    for (const name of this.#candidatesOr(onIgnored)) {
      const file = join(this.#options.directory, `${name}.json`);
      try {
        const state = this.#parse(readFileSync(file, "utf8"));
        if (belongsHere(state, identity)) {
          this.#name = name;
          return state;
        }
        onIgnored(file, "the state file belongs to another host or address");
      } catch (error) {
        onIgnored(file, describeError(error));
      }
    }
    return undefined;
  }

  /** Peers as last saved; empty when there are none or they cannot be read. */
  loadPeers(): Lease[] {
    if (this.#name === undefined) return [];
    let text: string;
    try {
      text = readFileSync(this.#path(this.#name, "peers"), "utf8");
    } catch {
      return [];
    }
    const { leaseCodec } = this.#options;
    return text.split("\n").flatMap((line) => tryParseLease(tryParseJson(line), leaseCodec) ?? []);
  }

  /** Throws `FILE_FAILED`. */
  async save(state: RememberedState): Promise<void> {
    const name = `${this.#prefix()}-${(state.publicIp ?? state.publicIpv6 ?? "none").replaceAll(":", "_")}`;
    const previous = this.#name;
    this.#makeDirectory();
    await writeFileAtomically(this.#path(name), `${this.#format(state)}\n`, 0o600);
    this.#name = name;
    if (previous !== undefined && previous !== name) {
      for (const path of [this.#path(previous), this.#path(previous, "peers")]) rmSync(path, { force: true });
    }
  }

  /**
   * One lease a line. Throws `FILE_FAILED`. False, and nothing is written, before the own state is known: peers without
   * an own lease are of no use.
   */
  async savePeers(peers: readonly Lease[]): Promise<boolean> {
    if (this.#name === undefined) return false;
    const parts: string[] = [];
    for (let start = 0; start < peers.length; start += LEASES_PER_SLICE) {
      const slice = peers.slice(start, start + LEASES_PER_SLICE);
      parts.push(slice.map((lease) => `${JSON.stringify(this.#options.leaseCodec.serialise(lease))}\n`).join(""));
      await setImmediate(); // formatting all at once would hold up packets' news for tens of milliseconds
    }
    await writeFileAtomically(this.#path(this.#name, "peers"), parts.join(""), 0o600);
    return true;
  }

  /** A file for what the runtime of a backend remembers beside it, as JSON. */
  memoryOf(backendType: string): RuntimeMemory {
    const path = join(this.#options.directory, `${this.#prefix()}.${backendType}.json`);
    return {
      load: () => {
        const text = readSmallFileOrNothing(path);
        return text === undefined ? undefined : tryParseJson(text);
      },
      save: async (value) => {
        this.#makeDirectory();
        await writeFileAtomically(path, `${JSON.stringify(value)}\n`, 0o600);
      },
      forget: () => rmSync(path, { force: true }),
    };
  }

  /** False when what was saved is no longer there. */
  get isThere(): boolean {
    return (
      this.#name === undefined || (existsSync(this.#path(this.#name)) && existsSync(this.#path(this.#name, "peers")))
    );
  }

  /** The files that hold what is remembered of this agent, also on another address. */
  files(): string[] {
    const { directory, backends } = this.#options;
    const paths = this.#candidates().flatMap((name) => [this.#path(name), this.#path(name, "peers")]);
    const memories = backends.modules.map(({ type }) => join(directory, `${this.#prefix()}.${type}.json`));
    return [...paths, ...memories].filter((path) => existsSync(path));
  }

  /** Removes what is remembered of this agent (`flannelctl cleanup --all`); returns the paths. */
  remove(): string[] {
    const paths = this.files();
    for (const path of paths) rmSync(path, { force: true });
    return paths;
  }

  /**
   * Every state of this subnet file and network, whoever's; for commands that run without an agent. Damaged ones are left
   * out. Throws `FILE_FAILED` when one cannot be read: what it tells of is unknown then, and not nothing.
   */
  all(): RememberedState[] {
    return this.#candidates().flatMap((name) => {
      const text = readOrFail(this.#path(name));
      try {
        return text === undefined ? [] : this.#parse(text);
      } catch {
        return [];
      }
    });
  }

  #format({ own, identities, ...state }: RememberedState): string {
    const { leaseCodec, backends } = this.#options;
    const identity = identityFields(backends.modules, identities);
    const entry = { version: FORMAT_VERSION, ...state, ...identity, own: leaseCodec.serialise(own) };
    return JSON.stringify(entry, undefined, 1);
  }

  #parse(text: string): RememberedState {
    return parseState(text, this.#options.leaseCodec, this.#options.backends);
  }

  #prefix(): string {
    const key = `${this.#options.subnetFile}\0${this.#options.networkId}`;
    return createHash("sha256").update(key).digest("hex").slice(0, 12);
  }

  #path(name: string, part?: "peers"): string {
    return join(this.#options.directory, part === undefined ? `${name}.json` : `${name}.${part}.json`);
  }

  /** Throws `FILE_FAILED` when the directory cannot be read. */
  #candidates(): string[] {
    const { directory } = this.#options;
    try {
      return readdirSync(directory)
        .filter((file) => file.startsWith(`${this.#prefix()}-`) && file.endsWith(".json") && !file.includes(".peers."))
        .map((file) => file.slice(0, -".json".length));
    } catch (cause) {
      if (isMissingFile(cause)) return [];
      throw new FlannelError("FILE_FAILED", `cannot read the state directory ${directory}`, { cause });
    }
  }

  #candidatesOr(onIgnored: (file: string, reason: string) => void): string[] {
    try {
      return this.#candidates();
    } catch (error) {
      onIgnored(this.#options.directory, describeError(error));
      return [];
    }
  }

  #makeDirectory(): void {
    try {
      ensureDirectory(this.#options.directory, 0o700);
    } catch (cause) {
      throw new FlannelError("FILE_FAILED", `cannot create the state directory ${this.#options.directory}`, { cause });
    }
  }
}

/** What cannot be read is worth nothing: whoever remembers in it goes on without. */
function readSmallFileOrNothing(path: string): string | undefined {
  try {
    return readSmallFile(path, MAX_MEMORY_BYTES);
  } catch {
    return undefined;
  }
}

function readOrFail(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (isMissingFile(cause)) return undefined;
    throw new FlannelError("FILE_FAILED", `cannot read the state file ${path}`, { cause });
  }
}

function belongsHere(state: RememberedState, identity: HostIdentity): boolean {
  const addresses = [state.publicIp, state.publicIpv6].filter((address) => address !== undefined);
  if (state.interfaceMac !== undefined && identity.macs.has(state.interfaceMac)) return true;
  return addresses.some((address) => identity.addresses.has(address));
}

function tryParseLease(entry: unknown, codec: LeaseCodec): Lease | undefined {
  return isRecord(entry) ? codec.tryParse(entry) : undefined;
}

function parseState(text: string, codec: LeaseCodec, { modules }: BackendRegistry): RememberedState {
  const parsed: unknown = JSON.parse(text);
  const own = isRecord(parsed) ? tryParseLease(parsed["own"], codec) : undefined;
  if (!isRecord(parsed) || parsed["version"] !== FORMAT_VERSION || own === undefined) {
    throw new FlannelError("FILE_FAILED", "the file is not a state file of this version");
  }
  const { configText, devices, publicIp, publicIpv6, interfaceMac, earlierSubnets, storeAddresses } = parsed;
  const [chosen, cniFile, cniBootFile] = [readChosen(parsed["chosen"]), parsed["cniFile"], parsed["cniBootFile"]];
  if (typeof configText !== "string" || !Array.isArray(devices)) {
    throw new FlannelError("FILE_FAILED", "a field is missing in the state file");
  }
  const [address, addressV6] = [publicIp, publicIpv6].map((ip) =>
    typeof ip === "string" ? tryParseAddress(ip) : undefined,
  );
  return {
    configText,
    own,
    identities: readIdentityFields(modules, parsed),
    devices: devices.filter(
      (device): device is string => typeof device === "string" && /^flannel[\w.-]*$/.test(device),
    ),
    ...(earlierSubnets !== undefined && {
      earlierSubnets: textsOf(earlierSubnets).flatMap((text) => tryParsePrefix(text) ?? []),
    }),
    ...(storeAddresses !== undefined && {
      storeAddresses: textsOf(storeAddresses).flatMap((text) => tryParseAddress(text) ?? []),
    }),
    ...(typeof cniFile === "string" && { cniFile }),
    ...(typeof cniBootFile === "string" && { cniBootFile }),
    ...(address !== undefined && { publicIp: address }),
    ...(addressV6 !== undefined && { publicIpv6: addressV6 }),
    ...(isMac(interfaceMac) && { interfaceMac }),
    ...(chosen !== undefined && { chosen }),
  };
}

function readChosen(value: unknown): RememberedState["chosen"] {
  if (!isRecord(value)) return undefined;
  const { flags, addresses } = value;
  if (typeof flags !== "string" || !Array.isArray(addresses)) return undefined;
  return {
    flags,
    addresses: addresses.flatMap((text) => (typeof text === "string" ? (tryParseAddress(text) ?? []) : [])),
  };
}

function textsOf(list: unknown): string[] {
  return Array.isArray(list) ? list.slice(0, MAX_LISTED).filter((text) => typeof text === "string") : [];
}

function isMac(value: unknown): value is string {
  return typeof value === "string" && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(value);
}
