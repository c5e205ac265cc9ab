// Opens the store for one command. Loaded late: gRPC takes longer to load than everything else together.
import { FlannelError, hasCode } from "../../../errors.ts";
import type { EtcdSubnetStore } from "../../../store/etcd/etcd-subnet-store.ts";
import type { Invocation } from "./invocation.ts";

/** Throws `usage` when the connection flags contradict each other or name files that cannot be used. */
export async function withStore<T>(invocation: Invocation, use: (store: EtcdSubnetStore) => Promise<T>): Promise<T> {
  await using store = await openStore(invocation);
  return await use(store);
}

async function openStore(invocation: Invocation): Promise<EtcdSubnetStore> {
  const { EtcdSubnetStore: Store } = await import("../../../store/etcd/etcd-subnet-store.ts");
  const { endpoints, prefix, username, password, caFile, certFile, keyFile } = invocation.options.etcd;
  try {
    return await Store.open({ endpoints, prefix, username, password, tls: { caFile, certFile, keyFile } });
  } catch (error) {
    throw hasCode(error, "config.invalid") ? new FlannelError("usage", error.message, { cause: error.cause }) : error;
  }
}
