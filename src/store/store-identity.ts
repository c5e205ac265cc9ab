// What a host has to know of a store without opening it. Light and pure: no client of a store is loaded.
import { USUAL_ANNOTATION_PREFIX } from "../config/annotation-prefix.ts";
import { etcdLeaseCodec } from "./etcd/lease-codec.ts";
import { kubernetesLeaseCodec } from "./kubernetes/lease-codec.ts";
import type { StoreIdentity } from "./network-identity.ts";
import type { StoreOptions } from "./store-options.ts";

const USUAL_ETCD_PREFIX = "/coreos.com/network";

/**
 * A network in etcd is known by the prefix of its keys, as it was given. In Kubernetes it is known by the prefix of its annotations:
 * there is one for each prefix in a cluster.
 */
export function storeIdentity(options: StoreOptions): StoreIdentity {
  return options.type === "etcd" ? etcdIdentity(options.prefix) : kubernetesIdentity(options.annotationPrefix);
}

function etcdIdentity(prefix: string): StoreIdentity {
  const isUsual = prefix.replace(/\/+$/, "") === USUAL_ETCD_PREFIX;
  const network = { id: prefix, isUsual, description: `prefix ${prefix}`, flag: "--etcd-prefix" };
  return { network, leaseCodec: etcdLeaseCodec };
}

function kubernetesIdentity(annotationPrefix: string): StoreIdentity {
  const network = {
    id: `kubernetes ${annotationPrefix}`,
    isUsual: annotationPrefix.replace(/\/$/, "") === USUAL_ANNOTATION_PREFIX,
    description: `annotation prefix ${annotationPrefix}`,
    flag: "--kube-annotation-prefix",
  };
  return { network, leaseCodec: kubernetesLeaseCodec };
}
