// What the members of a cluster may call and write: a host what its agent needs, the administrator everything.
import {
  ClusterDefinition as EtcdClusterDefinition,
  KVDefinition,
  LeaseDefinition,
  MaintenanceDefinition,
  WatchDefinition,
} from "../../etcd-api/etcd.ts";
import type { Caller, HostCaller } from "../grpc/caller.ts";
import type { CallerRights } from "../server/caller-rights.ts";
import { administratorRights } from "./administrator-rights.ts";
import { addressesOf } from "./host-addresses.ts";
import { HostRights, type Members, refusalOf } from "./host-rights.ts";
import type { MemberRegistry } from "./member-registry.ts";

const kv = KVDefinition.methods;
const lease = LeaseDefinition.methods;

function paths(service: { readonly fullName: string }, ...methods: readonly { readonly name: string }[]): string[] {
  return methods.map(({ name }) => `/${service.fullName}/${name}`);
}

/** Every other method of the store is the administrator's. What is written by these is looked at as well. */
const hostPaths: ReadonlySet<string> = new Set([
  ...paths(KVDefinition, kv.range, kv.put, kv.deleteRange, kv.txn),
  ...paths(WatchDefinition, WatchDefinition.methods.watch),
  ...paths(LeaseDefinition, lease.leaseGrant, lease.leaseRevoke, lease.leaseKeepAlive),
  ...paths(LeaseDefinition, lease.leaseTimeToLive, lease.leaseLeases),
  ...paths(MaintenanceDefinition, MaintenanceDefinition.methods.status, MaintenanceDefinition.methods.alarm),
  ...paths(EtcdClusterDefinition, EtcdClusterDefinition.methods.memberList),
]);

const administratorsCalls: ReadonlyMap<string, string> = new Map([
  [`/${KVDefinition.fullName}/${kv.compact.name}`, "compact the store"],
  [`/${MaintenanceDefinition.fullName}/${MaintenanceDefinition.methods.defragment.name}`, "defragment the store"],
]);

/** Throws the refusal of a call to the store's own methods. */
export function checkHostCall(path: string, { name }: Pick<HostCaller, "name">): void {
  if (hostPaths.has(path)) return;
  throw refusalOf({ name }, administratorsCalls.get(path) ?? `call ${path.replace(/^.*\//, "")}`);
}

/** @param isConnected whether the owner of a key holds a connection now */
export function rightsOf(
  caller: Caller,
  registry: MemberRegistry,
  isConnected: (keyPin: string) => boolean,
): CallerRights | undefined {
  if (caller.kind === "host") return new HostRights(caller, membersOf(registry, isConnected));
  return caller.kind === "administrator" ? administratorRights : undefined;
}

function membersOf(registry: MemberRegistry, isConnected: (keyPin: string) => boolean): Members {
  const { facts } = registry;
  const seenAt = (callAddresses: readonly string[], addresses: readonly string[]) =>
    addressesOf(callAddresses, facts).some((address) => addresses.includes(address));
  return {
    etcdPrefix: facts.etcdPrefix,
    nameOf: (keyPin) => registry.hosts.find((host) => host.keyPin === keyPin)?.name,
    namesAt: (addresses) => registry.hosts.filter((host) => seenAt(host.addresses, addresses)).map(({ name }) => name),
    isConnected,
    hasCalledFrom: (keyPin, addresses) =>
      registry.hosts.some((host) => host.keyPin === keyPin && seenAt(host.addresses, addresses)),
  };
}
