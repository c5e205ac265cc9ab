// The files in which flannel's CNI plugin keeps what it told its delegate, from ADD to DEL, named by the container. Upstream has
// one for each container; the plugin of this flannel adds `@INTERFACE` for interfaces other than eth0.
import { join } from "node:path";
import { tryParseJson } from "../json/try-parse-json.ts";
import { recordOf } from "../json/untyped-fields.ts";
import { readSmallFiles } from "./small-directory.ts";

export interface ScratchFile {
  readonly containerId: string;
  readonly networkName: string;
  /** Of the delegate's IPAM: `host-local` keeps its reservations where we can see them. */
  readonly ipamType: string;
  readonly ipamDirectory: string | undefined;
  readonly writtenAtMs: number;
  readonly file: string;
}

const MAX_BYTES = 256 * 1024;

/** Those that hold a network configuration. See `readSmallFiles` for what it throws. */
export function readScratchFiles(directory: string): ScratchFile[] {
  return readSmallFiles(directory, MAX_BYTES).flatMap(({ name, path, text, modifiedAtMs }) => {
    const { name: networkName, ipam } = recordOf(tryParseJson(text));
    const { type, dataDir } = recordOf(ipam);
    if (typeof networkName !== "string" || networkName === "" || typeof type !== "string") return [];
    return [
      {
        containerId: name.split("@", 1)[0] ?? name,
        networkName,
        ipamType: type,
        ipamDirectory: typeof dataDir === "string" ? dataDir : undefined,
        writtenAtMs: modifiedAtMs,
        file: path,
      },
    ];
  });
}

/** Where upstream's plugin looks for it. */
export function scratchPath(directory: string, containerId: string): string {
  return join(directory, containerId);
}

/**
 * What upstream's plugin would have kept of a container that was attached by a configuration list of ours: the delegate's
 * configuration with sorted keys. Undefined when the list has no plugin with addresses of host-local.
 */
export function scratchTextOf(conflist: string): string | undefined {
  const { name, cniVersion, plugins } = recordOf(tryParseJson(conflist));
  if (typeof name !== "string" || !Array.isArray(plugins)) return undefined;
  const delegate = plugins.map(recordOf).find(({ ipam }) => recordOf(ipam)["type"] === "host-local");
  if (delegate === undefined) return undefined;
  return sortedJson({ ...delegate, name, ...(typeof cniVersion === "string" && { cniVersion }) });
}

/** As Go's encoding/json writes a map. */
function sortedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return goText(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${goText(key)}:${sortedJson(item)}`).join(",")}}`;
}

function goText(value: unknown): string {
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}
