// Made-up peers by the ten thousand: their leases, written into etcd in big transactions, and the kernel objects that an
// agent must make of them.

import { RequestOp, TxnRequest } from "../src/etcd-api/etcd.ts";
import { type Address, addressFromBytes, makePrefix, type Prefix } from "../src/ip/address.ts";
import { formatLeaseKey } from "../src/lease/lease-key.ts";
import { formatLeaseValue } from "../src/lease/lease-value.ts";
import { EtcdConnection } from "../src/store/etcd/etcd-connection.ts";
import { grantStoreLease } from "../src/store/etcd/operations.ts";
import { methods } from "../src/store/etcd/rpc.ts";

/** Room for 65,000 subnets. */
export const benchConfig = JSON.stringify({ Network: "10.0.0.0/8", SubnetLen: 24, Backend: { Type: "vxlan" } });

/** etcd's default limit of operations in a transaction. */
const MAX_OPERATIONS = 128;

export interface Peer {
  readonly subnet: Prefix;
  readonly gateway: Address;
  readonly publicIp: Address;
  readonly mac: string;
}

/** The peer with that number, from 0; all parts differ between any two. At most 59,000. */
export function peer(number: number): Peer {
  const [high, low] = [number >> 8, number & 0xff];
  const gateway = addressFromBytes(Uint8Array.of(10, 1 + high, low, 0));
  return {
    gateway,
    subnet: makePrefix(gateway, 24),
    publicIp: addressFromBytes(Uint8Array.of(172, 16, high, low)),
    mac: `0a:00:00:00:${hex(high)}:${hex(low)}`,
  };
}

export function peers(count: number): readonly Peer[] {
  return Array.from({ length: count }, (_, number) => peer(number));
}

export function leaseKey({ subnet }: Peer): string {
  return formatLeaseKey({ subnet });
}

export function leaseValue({ publicIp, mac }: Peer): string {
  return formatLeaseValue({ publicIp, backendType: "vxlan", backendData: { VNI: 1, VtepMAC: mac } });
}

/** What the peers of another backend look like. */
export interface PeersForm {
  readonly config: string;
  readonly leaseOf: (peer: Peer) => string;
}

/** Writes the network config and the leases of peers 0 to `count` - 1 below `prefix`. */
export async function writePeers(
  endpoints: string,
  prefix: string,
  count: number,
  { config, leaseOf }: PeersForm = { config: benchConfig, leaseOf: leaseValue },
): Promise<void> {
  await using connection = await EtcdConnection.open({ endpoints });
  const { signal } = new AbortController();
  const { id: lease } = await grantStoreLease(connection, 86_400, signal);
  const puts = [put(`${prefix}/config`, config, 0n)];
  for (const each of peers(count)) puts.push(put(`${prefix}/subnets/${leaseKey(each)}`, leaseOf(each), lease));
  for (let first = 0; first < puts.length; first += MAX_OPERATIONS) {
    const request = TxnRequest.fromPartial({ success: puts.slice(first, first + MAX_OPERATIONS) });
    await connection.call(methods.txn, request, "write made-up leases", signal);
  }
}

function put(key: string, value: string, lease: bigint): RequestOp {
  return RequestOp.fromPartial({ requestPut: { key: Buffer.from(key), value: Buffer.from(value), lease } });
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
