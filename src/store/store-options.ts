// Which store holds the leases of a network, and how it is reached. Pure.
import type { EtcdOptions, KubernetesOptions } from "../config/agent-options.ts";

/** One member for each adapter, distinguished by `type`. The embedded store speaks etcd's API. */
export type StoreOptions = EtcdStoreOptions | KubernetesStoreOptions;

export interface EtcdStoreOptions extends Omit<EtcdOptions, "renewsCertificate"> {
  readonly type: "etcd";
}

export interface KubernetesStoreOptions extends KubernetesOptions {
  readonly type: "kubernetes";
}
