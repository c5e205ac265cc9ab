// Chooses the adapter that a command reaches a store by. To be loaded late: it brings the store's client with it.
import type { LeaseAdministration } from "./lease-administration.ts";
import type { StoreOptions } from "./store-options.ts";

/** Checks the options and reads certificate files; connects at the first call. Throws `CONFIG_INVALID`. */
export async function openAdministration(
  options: StoreOptions,
  env: Readonly<Record<string, string | undefined>>,
): Promise<LeaseAdministration> {
  if (options.type === "kubernetes") {
    const { KubernetesAdministration } = await import("./kubernetes/kubernetes-administration.ts");
    return await KubernetesAdministration.open(options, env);
  }
  const { EtcdAdministration } = await import("./etcd/etcd-administration.ts");
  return await EtcdAdministration.open(options);
}
