// What a host has to know of a store without opening it. Light: no client of a store is loaded.
import { etcdIdentity } from "./etcd/etcd-identity.ts";
import type { StoreIdentity } from "./network-identity.ts";
import type { StoreOptions } from "./store-options.ts";

export function storeIdentity(options: StoreOptions): StoreIdentity {
  return etcdIdentity(options);
}
