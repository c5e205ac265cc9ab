// A network in etcd is known by the prefix of its keys, as it was given. Pure.
import type { StoreIdentity } from "../network-identity.ts";
import { etcdLeaseCodec } from "./lease-codec.ts";

const USUAL_PREFIX = "/coreos.com/network";

export function etcdIdentity({ prefix }: { readonly prefix: string }): StoreIdentity {
  const isUsual = prefix.replace(/\/+$/, "") === USUAL_PREFIX;
  const network = { id: prefix, isUsual, description: `prefix ${prefix}`, flag: "--etcd-prefix" };
  return { network, leaseCodec: etcdLeaseCodec };
}
