// Chooses the adapter that a command reaches a store by. To be loaded late: it brings the store's client with it.
import { EtcdAdministration } from "./etcd/etcd-administration.ts";
import type { LeaseAdministration } from "./lease-administration.ts";
import type { StoreOptions } from "./store-options.ts";

/** Checks the options and reads certificate files; connects at the first call. Throws `CONFIG_INVALID`. */
export function openAdministration(options: StoreOptions): Promise<LeaseAdministration> {
  return EtcdAdministration.open(options);
}
