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
  return list
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => {
      if (entry === "") return false;
      if (entry === "*") return true;
      const prefix = tryParsePrefix(entry);
      if (prefix !== undefined) return address !== undefined && isContained(prefix, address);
      const [, name = entry, port] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
      if (tryParseAddress(entry) === undefined && port !== undefined && Number(port) !== portOf(server)) return false;
      const domain = tryParseAddress(entry) === undefined ? name : entry;
      return domain.startsWith(".") ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
    });
}

function isContained(
  prefix: NonNullable<ReturnType<typeof tryParsePrefix>>,
  address: Parameters<typeof containsAddress>[1],
) {
  return prefix.includes(":") === address.includes(":") && containsAddress(prefix, address);
}
