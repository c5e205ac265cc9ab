// What runtimes remember of the interfaces that CNI gave to containers: the cache of libcni, which containerd, CRI-O, podman
// and others share (`cachedInfo` in libcni/api.go). A file for each interface, from ADD to DEL.
import { join } from "node:path";
import { tryParseJson } from "../json/try-parse-json.ts";
import { recordOf } from "../json/untyped-fields.ts";
import { readSmallFiles } from "./small-directory.ts";

export interface Attachment {
  readonly containerId: string;
  /** In the container. */
  readonly interfaceName: string;
  /** The ends that stayed on the host; empty where the plugin made none, or the runtime keeps no result of that form. */
  readonly hostInterfaces: readonly string[];
  /** The network configuration (list) at that time, as text; empty when it is not there. */
  readonly configuration: string;
  readonly file: string;
}

const MAX_BYTES = 1024 * 1024;

/** By `attachmentKey`. `directory`: that of CNI, usually /var/lib/cni. See `readSmallFiles` for what it throws. */
export function readAttachments(directory: string, networkName: string): Map<string, Attachment> {
  const isOfNetwork = (name: string) => name.startsWith(`${networkName}-`);
  const attachments = new Map<string, Attachment>();
  for (const { path, text } of readSmallFiles(join(directory, "results"), MAX_BYTES, isOfNetwork)) {
    const cached = recordOf(tryParseJson(text));
    const { containerId, ifName, networkName: name, config, result } = cached;
    if (typeof containerId !== "string" || typeof ifName !== "string" || name !== networkName) continue;
    attachments.set(attachmentKey(containerId, ifName), {
      containerId,
      interfaceName: ifName,
      hostInterfaces: hostInterfacesOf(result),
      configuration: typeof config === "string" ? Buffer.from(config, "base64").toString("utf8") : "",
      file: path,
    });
  }
  return attachments;
}

export function attachmentKey(containerId: string, interfaceName: string): string {
  return `${containerId} ${interfaceName}`;
}

/** The plugins bridge and ptp name their host ends so; the bridge itself stands in the result, too. */
function hostInterfacesOf(result: unknown): string[] {
  const { interfaces } = recordOf(result);
  if (!Array.isArray(interfaces)) return [];
  return interfaces.flatMap((each) => {
    const { name, sandbox = "" } = recordOf(each);
    return typeof name === "string" && name.startsWith("veth") && sandbox === "" ? [name] : [];
  });
}

/** The host ends of all of them. */
export function attachedInterfaces(attachments: ReadonlyMap<string, Attachment>): ReadonlySet<string> {
  return new Set([...attachments.values()].flatMap(({ hostInterfaces }) => hostInterfaces));
}
