// The door to the reader of networks that are still in etcd's v2 keys.
import type { V2Network } from "./etcd-v2/v2-network.ts";
import type { EtcdV2Options } from "./etcd-v2-options.ts";

export type { V2Network } from "./etcd-v2/v2-network.ts";
export type { EtcdV2Options } from "./etcd-v2-options.ts";

/** See `readV2`; loaded late. */
export async function readEtcdV2(options: EtcdV2Options, signal: AbortSignal): Promise<V2Network> {
  const { readV2 } = await import("./etcd-v2/read-v2-network.ts");
  return await readV2(options, signal);
}
