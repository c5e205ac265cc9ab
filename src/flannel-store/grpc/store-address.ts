// Where the store is, as people and options write it. Pure.
import { FlannelError } from "../../errors.ts";
import { tryParseAddress } from "../../ip/address.ts";

export interface StoreAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
  /** `https://10.0.0.1:2379`. */
  readonly url: string;
}

export const DEFAULT_STORE_PORT = 2379;

/** `10.0.0.1`, `10.0.0.1:2379`, `fd00::1`, `[fd00::1]:2379`, `store.lan:2379`, also with https:// in front. Throws `USAGE`. */
export function parseStoreAddress(text: string): StoreAddress {
  const rest = text
    .trim()
    .replace(/^https:\/\//i, "")
    .replace(/\/$/, "");
  const bare = tryParseAddress(rest);
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/\s@]+))(?::(\d{1,5}))?$/.exec(rest);
  const [, bracketed, plain, portText] = match ?? [];
  const host = bare ?? bracketed ?? plain ?? "";
  const port = portText === undefined ? DEFAULT_STORE_PORT : Number(portText);
  const isHost = bracketed === undefined ? isHostName(host) || bare !== undefined : tryParseAddress(host) !== undefined;
  if (!isHost || port < 1 || port > 65_535) {
    throw new FlannelError(
      "USAGE",
      `the store's address must be like 10.0.0.1, 10.0.0.1:2379 or [fd00::1]:2379, not "${text}"`,
    );
  }
  return storeAddress(host, port);
}

function storeAddress(host: string, port: number): StoreAddress {
  return { host, port, url: `https://${hostAndPort(host, port)}` };
}

/** `10.0.0.1:2379`, `[fd00::1]:2379`. */
export function hostAndPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function isHostName(text: string): boolean {
  if (/^[\d.]+$/.test(text)) return tryParseAddress(text) !== undefined;
  // Some of what looks like a name is none: `a.0.0.1`, `0x1`.
  return (
    text.length <= 253 && /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(text) && URL.canParse(`https://${text}`)
  );
}
