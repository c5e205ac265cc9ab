// What the kernel holds, in the lines operators know (`ip route`, `ip neigh`, `bridge fdb`), sorted and trimmed, to be
// compared with expected lines.
import type { Namespace } from "./namespace.ts";

/** Routes of the main table, both families, optionally of one device (`dev X` is then left out by `ip`). */
export async function routes(namespace: Namespace, ...filter: readonly string[]): Promise<readonly string[]> {
  const texts = await Promise.all(["-4", "-6"].map((family) => namespace.ip(family, "route", "show", ...filter)));
  return sortedLines(texts.join("\n")).filter((line) => !line.startsWith("fe80::/64") && !line.startsWith("multicast"));
}

/** Permanent neighbours of a device: `10.5.2.0 lladdr 1a:… PERMANENT`. */
export async function neighbours(namespace: Namespace, device: string): Promise<readonly string[]> {
  return sortedLines(await namespace.ip("neigh", "show", "nud", "permanent", "dev", device));
}

/** Forwarding entries of a vxlan device: `1a:… dst 192.168.50.12 self permanent`. */
export async function fdb(namespace: Namespace, device: string): Promise<readonly string[]> {
  return sortedLines(await namespace.bridge("fdb", "show", "dev", device));
}

/** Addresses of a device with length, without link-local ones: `10.5.1.0/32`. */
export async function addresses(namespace: Namespace, device: string): Promise<readonly string[]> {
  const lines = sortedLines(await namespace.ip("-o", "addr", "show", "dev", device));
  return lines.map((line) => line.split(/\s+/)[3] ?? "").filter((address) => !address.startsWith("fe80:"));
}

export interface LinkView {
  readonly index: number;
  readonly mtuBytes: number;
  readonly mac: string;
  readonly isUp: boolean;
  /** `vxlan`, `bridge`, `veth`, …; empty for a plain device. */
  readonly kind: string;
  /** The driver's own settings as `ip -d -j` names them: `id`, `port`, `local`, `learning`, … */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** A device, or undefined when there is none of that name. */
export async function link(namespace: Namespace, device: string): Promise<LinkView | undefined> {
  const links = await namespace.ipJson("-d", "link", "show");
  const found = links.find((entry) => entry["ifname"] === device);
  if (found === undefined) return undefined;
  const info = (found["linkinfo"] ?? {}) as { info_kind?: string; info_data?: Record<string, unknown> };
  return {
    index: Number(found["ifindex"]),
    mtuBytes: Number(found["mtu"]),
    mac: String(found["address"]),
    isUp: Array.isArray(found["flags"]) && found["flags"].includes("UP"),
    kind: info.info_kind ?? "",
    settings: info.info_data ?? {},
  };
}

function sortedLines(text: string): readonly string[] {
  const lines = text.split("\n").map((line) => line.trim().replaceAll(/\s+/g, " "));
  return lines.filter((line) => line !== "").sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}
