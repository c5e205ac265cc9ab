// Takes out of charon what flannel told it, and ends a charon that flannel started once it serves no network any more.
import { existsSync } from "node:fs";
import type { Prefix } from "../ip/address.ts";
import { CHARON_SOCKET, charonPid, isOwnCharon, stopOwnCharon } from "./charon-process.ts";
import { unloadConnection } from "./charon-session.ts";
import { isConnectionOf, sharedKeyPrefix } from "./connection.ts";
import { ViciClient } from "./vici-client.ts";
import { listOf, sectionsOf } from "./vici-message.ts";

const ANY_NETWORK = "0.0.0.0/0" as Prefix;

/** Lines that name what went, or would go. Nothing where no charon runs. */
export async function cleanUpCharon({
  networks,
  isDryRun,
}: {
  readonly networks: readonly Prefix[];
  readonly isDryRun: boolean;
}): Promise<readonly string[]> {
  if (!existsSync(CHARON_SOCKET)) return [];
  const client = await ViciClient.connect(CHARON_SOCKET).catch(() => undefined);
  if (client === undefined) return [];
  const removed: string[] = [];
  let isUnused: boolean;
  try {
    const loaded = await client.list("list-conns", "list-conn");
    const names = loaded.flatMap((message) => sectionsOf(message).map(([name]) => name));
    const ours = names.filter((name) => isConnectionOf(name, networks));
    const keys = listOf(await client.request("get-shared"), "keys").filter((id) =>
      networks.some((network) => id.startsWith(sharedKeyPrefix(network))),
    );
    removed.push(...ours.map((name) => `connection ${name} of charon`), ...keys.map((id) => `key ${id} of charon`));
    isUnused = !names.some((name) => isConnectionOf(name, [ANY_NETWORK]) && !ours.includes(name));
    if (!isDryRun) {
      for (const name of ours) await unloadConnection(client, name);
      for (const id of keys) await client.request("unload-shared", { id });
    }
  } finally {
    await client[Symbol.asyncDispose]();
  }
  const pid = charonPid();
  if (pid === undefined || !isUnused || !isOwnCharon(pid)) return removed;
  if (!isDryRun) await stopOwnCharon();
  return [...removed, `charon (pid ${pid})`];
}
