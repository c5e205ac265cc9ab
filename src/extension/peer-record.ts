// For which peers SubnetAddCommand was begun, as it is kept over a restart: whoever went meanwhile is removed then. Pure.
import { isRecord } from "../json/untyped-fields.ts";
import type { ExtensionPeer, Variables } from "./extension-state.ts";

/** As the state directory has it. */
export interface SavedPeers {
  readonly peers: readonly ExtensionPeer[];
  /** This host's own, for a clean-up without agent. */
  readonly own: Variables;
}

/** What was read from disk may be anything: what is no peer is left out. */
export function readSavedPeers(saved: unknown): ReadonlyMap<string, ExtensionPeer> {
  const entries: readonly unknown[] = isRecord(saved) && Array.isArray(saved["peers"]) ? saved["peers"] : [];
  return new Map(
    entries.flatMap((entry) => {
      const peer = readPeer(entry);
      return peer === undefined ? [] : [[peer.key, peer] as const];
    }),
  );
}

/** Empty when there are none. */
export function readSavedVariables(saved: unknown): Variables {
  const own = isRecord(saved) ? saved["own"] : undefined;
  return isVariables(own) ? own : {};
}

function readPeer(entry: unknown): ExtensionPeer | undefined {
  if (!isRecord(entry)) return undefined;
  const { key, variables, input } = entry;
  if (typeof key !== "string" || typeof input !== "string" || !isVariables(variables)) return undefined;
  return { key, variables, input };
}

/** Whether the commands for both would do the same. */
export function isSamePeer(a: ExtensionPeer, b: ExtensionPeer): boolean {
  return a.input === b.input && signatureOf(a.variables) === signatureOf(b.variables);
}

export function signatureOf(variables: Variables): string {
  return JSON.stringify(Object.entries(variables).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** For messages: `10.5.3.0/24 (192.0.2.3)`. */
export function shownPeer({ variables }: ExtensionPeer): string {
  const { SUBNET = "", IPV6SUBNET = "", PUBLIC_IP = "", PUBLIC_IPV6 = "" } = variables;
  const subnets = [SUBNET, IPV6SUBNET].filter((text) => text !== "").join(" and ");
  return `${subnets} (${PUBLIC_IP === "" ? PUBLIC_IPV6 : PUBLIC_IP})`;
}

function isVariables(value: unknown): value is Variables {
  return isRecord(value) && Object.values(value).every((text) => typeof text === "string");
}
