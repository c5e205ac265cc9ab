// Which networks an agent with several has on this host, in a file of the state directory: those that are gone from the store,
// or from the flags, when the agent starts again still have devices and rules here.
import { createHash } from "node:crypto";
import { join } from "node:path";
import { isNetworkName, MAX_NETWORKS } from "../../config/network-name.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { ensureDirectory, readSmallFile, writeFileAtomically } from "../../sys/files.ts";

/** The store, and the moment in its history, that they are from. */
export interface NetworksPlace {
  readonly id: string;
  /** Decimal. */
  readonly revision: string;
}

export interface KnownNetworks {
  readonly names: readonly string[];
  /** Missing before a store told. */
  readonly place?: NetworksPlace;
}

const FORMAT_VERSION = 1;
const MAX_FILE_BYTES = 64 * 1024;

export class RememberedNetworks {
  readonly #directory: string;
  readonly file: string;

  /** `subnetDirectory` and `prefix` tell the agents on one host apart. */
  constructor(stateDirectory: string, subnetDirectory: string, prefix: string) {
    this.#directory = stateDirectory;
    const key = createHash("sha256").update(`${subnetDirectory}\0${prefix}`).digest("hex").slice(0, 12);
    // Not `.json`: that is the state of one network each.
    this.file = join(stateDirectory, `${key}.networks`);
  }

  /** None where the file is missing or damaged: what is left of a network then stays until `flannelctl cleanup`. */
  load(): KnownNetworks {
    try {
      return parse(tryParseJson(readSmallFile(this.file, MAX_FILE_BYTES)));
    } catch {
      return { names: [] };
    }
  }

  /** Throws `FILE_FAILED`, or Node's errors. */
  async save(known: KnownNetworks): Promise<void> {
    ensureDirectory(this.#directory, 0o700);
    const text = JSON.stringify({ version: FORMAT_VERSION, ...known }, undefined, 1);
    await writeFileAtomically(this.file, `${text}\n`, 0o600);
  }
}

function parse(value: unknown): KnownNetworks {
  if (typeof value !== "object" || value === null) return { names: [] };
  const { version, names, place } = value as Record<string, unknown>;
  if (version !== FORMAT_VERSION || !Array.isArray(names)) return { names: [] };
  const known = names.filter((name): name is string => typeof name === "string" && isNetworkName(name));
  const { id, revision } = (typeof place === "object" && place !== null ? place : {}) as Record<string, unknown>;
  const isPlace = typeof id === "string" && typeof revision === "string" && /^\d{1,20}$/.test(revision);
  return { names: known.slice(0, 2 * MAX_NETWORKS), ...(isPlace && { place: { id, revision } }) };
}
