// What a host has to know of a store without opening it. Light: no client of a store is loaded.
import { etcdIdentity } from "./etcd/etcd-identity.ts";
import { kubernetesIdentity } from "./kubernetes/kubernetes-identity.ts";
import type { StoreIdentity } from "./network-identity.ts";
import type { StoreOptions } from "./store-options.ts";

export function storeIdentity(options: StoreOptions): StoreIdentity {
  return options.type === "etcd" ? etcdIdentity(options) : kubernetesIdentity(options);
}
