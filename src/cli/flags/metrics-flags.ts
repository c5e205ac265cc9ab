// The flags of the metrics for Prometheus, and what an address to listen on means. Pure.
import { FlannelError } from "../../errors.ts";
import { type Address, tryParseAddress } from "../../ip/address.ts";
import type { FlagDefinition } from "./flags.ts";

const group = "Metrics";
const LOOPBACK = "127.0.0.1";

export const metricsFlags: readonly FlagDefinition[] = [
  {
    name: "metrics-addr",
    kind: "string",
    default: "",
    group,
    valueName: "[IP:]PORT",
    description:
      "Address on which the agent serves /metrics for Prometheus, without authentication. A port alone: only on 127.0.0.1; " +
      "[::]:PORT: on all addresses. Empty: not at all.",
    validate: (text) => (text === "" || tryParseListenAddress(text) !== undefined ? undefined : rule),
  },
  {
    name: "metrics-per-peer",
    kind: "bool",
    default: false,
    group,
    description:
      "Also record metrics of each peer: on N hosts that makes some N² series in Prometheus for each such metric.",
  },
];

const rule = "must be PORT, IP:PORT or [IPv6]:PORT, with a port from 1 to 65535";

interface ListenAddress {
  readonly host: Address;
  readonly port: number;
}

/** Throws `USAGE`. */
export function parseListenAddress(text: string): ListenAddress {
  const parsed = tryParseListenAddress(text);
  if (parsed === undefined) throw new FlannelError("USAGE", `the address ${text} ${rule}`);
  return parsed;
}

/** `9101`, `:9101`, `10.0.0.1:9101`, `[fd00::1]:9101`. Without an address it is the loopback one. */
function tryParseListenAddress(text: string): ListenAddress | undefined {
  const found = /^(?:(?:\[([0-9a-f:.]+)\]|([\d.]*)):)?(\d{1,5})$/i.exec(text);
  if (found === null) return undefined;
  const [, ipv6, ipv4, portText] = found;
  const port = Number(portText);
  const host = tryParseAddress(ipv6 ?? (ipv4 || LOOPBACK));
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
