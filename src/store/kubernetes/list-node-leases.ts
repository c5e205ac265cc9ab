// The leases that all Nodes announce now, our own among them.
import { listAll } from "../../kube-api/list-objects.ts";
import type { Lease } from "../../lease/lease.ts";
import type { NodeApi } from "./node-api.ts";
import { readNodeLease } from "./node-lease.ts";

/** Nodes that announce nothing usable are left out. Rejects as requests do. */
export async function listNodeLeases(api: NodeApi, signal: AbortSignal): Promise<readonly Lease[]> {
  const { objects } = await listAll(api.client, api.target(), signal);
  return objects.flatMap((record) => {
    const read = readNodeLease(api.names, record);
    return read === "unmanaged" || "reason" in read ? [] : [read.lease];
  });
}
