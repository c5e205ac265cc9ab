// What this host is now, for the judgement about what containers have left behind.
import { uptime } from "node:os";
import type { PresentHost } from "./container-network.ts";

/** `links`: all devices of the host's network namespace. */
export function presentHost(links: readonly { readonly name: string }[]): PresentHost {
  return { interfaces: new Set(links.map(({ name }) => name)), bootedAtMs: Date.now() - uptime() * 1_000 };
}
