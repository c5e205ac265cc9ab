// Chooses the adapter that an agent reaches its store by. etcd's is part of the program: nearly every start needs it, and
// loaded late it takes a few milliseconds more, most at the first start, when its compiled code is not cached yet.
// Others are for those who choose them, and are loaded then.
import { EtcdSubnetStore } from "./etcd/etcd-subnet-store.ts";
import type { StoreOptions } from "./store-options.ts";
import type { SubnetStore } from "./subnet-store.ts";

/** Checks the options and reads certificate files; connects at the first call. Throws `CONFIG_INVALID`. */
export function openStore(options: StoreOptions): Promise<SubnetStore> {
  return EtcdSubnetStore.open(options);
}
