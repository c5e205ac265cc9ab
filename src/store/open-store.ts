// Chooses the adapter that an agent reaches its store by. etcd's is part of the program: nearly every start needs it, and
// loaded late it takes a few milliseconds more, most at the first start, when its compiled code is not cached yet.
// Others are for those who choose them, and are loaded then.
import type { Logger } from "../telemetry/logger.ts";
import { EtcdNetworks } from "./etcd/etcd-networks.ts";
import { EtcdSubnetStore } from "./etcd/etcd-subnet-store.ts";
import type { NetworkDirectory } from "./network-directory.ts";
import type { EtcdStoreOptions, StoreOptions } from "./store-options.ts";
import type { SubnetStore } from "./subnet-store.ts";

export interface StoreServices {
  /** Of the process: proxies, where a pod reaches the Kubernetes API. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Of this program, for the store's own records of who asks. */
  readonly version: string;
  readonly logger: Logger;
}

/** Checks the options and reads certificate files; connects at the first call. Throws `CONFIG_INVALID`. */
export async function openStore(options: StoreOptions, services: StoreServices): Promise<SubnetStore> {
  if (options.type === "kubernetes") {
    const { KubernetesSubnetStore } = await import("./kubernetes/kubernetes-subnet-store.ts");
    return await KubernetesSubnetStore.open(options, services);
  }
  return await EtcdSubnetStore.open(options);
}

/** As `openStore`, for several networks below the prefix. Kubernetes has one network. */
export async function openNetworkDirectory(options: EtcdStoreOptions): Promise<NetworkDirectory> {
  return await EtcdNetworks.open(options);
}
