// Pre-shared keys of peers, out of the configuration or out of files of this host. Pure.
import type { HostWireguardPeer } from "../../host/kinds/wireguard-form.ts";
import { isKey } from "../../netlink/genetlink/wireguard-device.ts";
import type { HostFacts, SecretFileUse } from "../backend.ts";
import type { PresharedKeySource, WireguardOptions } from "./wireguard-options.ts";

/** The files that the plan needs. */
export function secretFilesOf({ presharedKey, staticPeers }: WireguardOptions): SecretFileUse[] {
  const ofHosts = presharedKey !== undefined && "file" in presharedKey ? [presharedKey.file] : [];
  const ofStatic = staticPeers.flatMap(({ presharedKeyFile }) => presharedKeyFile ?? []);
  return [...new Set([...ofHosts, ...ofStatic])].map((path) => ({ path, faultOf }));
}

function faultOf(text: string): string | undefined {
  return isKey(text.trim()) ? undefined : "it does not hold 32 bytes in base64, as wg genpsk prints them";
}

/** The key, or why it is not known; nothing where none is wanted. */
export function presharedKeyOf(
  source: PresharedKeySource | undefined,
  { secrets }: HostFacts,
): Pick<HostWireguardPeer, "presharedKey" | "presharedKeyProblem"> {
  if (source === undefined) return {};
  if ("key" in source) return { presharedKey: source.key };
  const { file } = source;
  const found = secrets?.get(file) ?? { problem: "it is not read yet" };
  return "problem" in found
    ? { presharedKeyProblem: `${file}: ${found.problem}` }
    : { presharedKey: found.text.trim() };
}
