// The names and addresses a server's certificate is good for.
import type { X509Certificate } from "node:crypto";
import { tryParseAddress } from "../../ip/address.ts";

/** Programs on the store's own host reach it by these, whatever its address is. */
const ownHost = ["127.0.0.1", "::1", "localhost"];

/** All that hosts may dial, in canonical form, each once. */
export function serverNames(addresses: readonly string[]): string[] {
  const names = addresses.map((text) => tryParseAddress(text) ?? text.toLowerCase());
  return [...new Set([...names, ...ownHost])];
}

/** In the order in which they stand in it. */
export function certifiedNames({ subjectAltName = "" }: X509Certificate): string[] {
  return subjectAltName.split(", ").flatMap((entry) => {
    const [, kind, text = ""] = /^(DNS|IP Address):(.*)$/.exec(entry) ?? [];
    if (kind === undefined) return [];
    return [kind === "DNS" ? text : (tryParseAddress(text) ?? text)];
  });
}
