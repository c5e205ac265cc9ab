// Which proxy the environment names for a server, by the rules that Go programs follow (HTTPS_PROXY, HTTP_PROXY,
// NO_PROXY). Pure.
import { tryParseAddress, tryParsePrefix } from "../ip/address.ts";
import { containsAddress } from "../ip/prefix.ts";
import type { Environment } from "./in-cluster.ts";

/** Undefined: reached directly. Loopback never goes through a proxy. */
export function proxyFromEnvironment(server: URL, env: Environment): URL | undefined {
  const name = server.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const text = env[name] ?? env[name.toLowerCase()] ?? "";
  if (text === "" || isExempt(server, env["NO_PROXY"] ?? env["no_proxy"] ?? "")) return undefined;
  const withScheme = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  return url !== undefined && ["http:", "https:", "socks5:"].includes(url.protocol) ? url : undefined;
}

/** The host of a URL without the brackets of IPv6. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

export function portOf({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return { "https:": 443, "socks5:": 1080 }[protocol] ?? 80;
}

function isExempt(server: URL, list: string): boolean {
  const host = hostOf(server).toLowerCase();
  const address = tryParseAddress(host);
  if (host === "localhost" || address === "::1" || address?.startsWith("127.") === true) return true;
  const entries = list.split(",").map((entry) => entry.trim().toLowerCase());
  return entries.some((entry) => {
    if (entry === "" || entry === "*") return entry === "*";
    const prefix = tryParsePrefix(entry);
    if (prefix !== undefined) return address !== undefined && isContained(prefix, address);
    return isOfName(host, portOf(server), entry);
  });
}

/** `entry`: an address, or a domain with or without a leading dot and with or without a port. */
function isOfName(host: string, port: number, entry: string): boolean {
  const isAddress = tryParseAddress(entry) !== undefined;
  const [, name = entry, entryPort] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  if (!isAddress && entryPort !== undefined && Number(entryPort) !== port) return false;
  const domain = isAddress ? entry : name;
  return domain.startsWith(".") ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function isContained(
  prefix: NonNullable<ReturnType<typeof tryParsePrefix>>,
  address: Parameters<typeof containsAddress>[1],
) {
  return prefix.includes(":") === address.includes(":") && containsAddress(prefix, address);
}
