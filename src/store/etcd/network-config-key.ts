// The key that holds the network configuration.
import { FlannelError } from "../../errors.ts";
import type { KeyValue } from "../../etcd-api/etcd.ts";
import { EtcdRevision } from "../../etcd-api/etcd-lease.ts";
import type { NetworkConfigDocument } from "../subnet-store.ts";
import type { LeaseDirectory } from "./lease-directory.ts";
import { readKey } from "./operations.ts";
import type { StoreFacts } from "./store-past.ts";

export interface ConfigSnapshot extends StoreFacts {
  /** Undefined while there is none. */
  readonly document: NetworkConfigDocument | undefined;
  readonly kv: KeyValue | undefined;
  /** Of the store, when it answered. */
  readonly revision: bigint;
}

export async function readConfigKey(
  { connection, keys }: LeaseDirectory,
  signal: AbortSignal,
  serializable = false,
): Promise<ConfigSnapshot> {
  const { kv, ...store } = await readKey(connection, keys.config, "read the network config", signal, serializable);
  return { document: kv && documentOf(kv), kv, ...store };
}

export function documentOf({ value, modRevision }: Pick<KeyValue, "value" | "modRevision">): NetworkConfigDocument {
  return { text: Buffer.from(value).toString("utf8"), revision: new EtcdRevision(modRevision) };
}

/** The error for a store that has none. */
export function configMissing({ keys }: LeaseDirectory): FlannelError {
  const message = `there is no network config in etcd at ${keys.config}: write one with flannelctl config set`;
  return new FlannelError("CONFIG_MISSING", message, { retryable: true });
}
