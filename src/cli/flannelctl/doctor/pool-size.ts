// How many subnets a network configuration has room for.
import { backends } from "../../../backend/registry.ts";
import { poolSize } from "../../../config/pool-size.ts";

/** Undefined for a text that is no configuration. */
export function poolSizeOf(configText: string): number | undefined {
  try {
    const { ipv4, ipv6 } = backends.parseConfig(configText).config;
    return poolSize([ipv4, ipv6]);
  } catch {
    return undefined;
  }
}
