// Behind which port of a bridge a MAC address was seen: /sys/class/net/BRIDGE/brforward (struct __fdb_entry, linux/if_bridge.h).
import { readdirSync, readFileSync } from "node:fs";

const ENTRY_BYTES = 16;

/** Undefined when it is not known, or when this is no bridge. */
export function bridgePortOf(bridge: string, mac: string): string | undefined {
  const directory = `/sys/class/net/${bridge.replaceAll("/", "")}`;
  try {
    const table = readFileSync(`${directory}/brforward`);
    const wanted = Buffer.from(mac.replaceAll(":", ""), "hex");
    for (let at = 0; at + ENTRY_BYTES <= table.length; at += ENTRY_BYTES) {
      if (!table.subarray(at, at + 6).equals(wanted)) continue;
      const number = (table[at + 6] ?? 0) | ((table[at + 12] ?? 0) << 8);
      return readdirSync(`${directory}/brif`).find(
        (port) => Number(readFileSync(`${directory}/brif/${port}/port_no`, "utf8")) === number,
      );
    }
  } catch {
    // Gone meanwhile, or no bridge.
  }
  return undefined;
}
