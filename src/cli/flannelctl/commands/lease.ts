// `flannelctl lease`: the leases of the whole cluster, directly in the store.
import { parseConfig } from "../../../backend/registry.ts";
import { FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import type { Lease } from "../../../lease/lease.ts";
import type { LeaseAdministration } from "../../../store/lease-administration.ts";
import { type Invocation, present } from "../session/invocation.ts";
import {
  type LeaseOutput,
  leaseListOutputSchema,
  leaseReleaseOutputSchema,
  leaseReserveOutputSchema,
  leaseShowOutputSchema,
} from "../session/json-output.ts";
import { withNetworkStore } from "../session/open-store.ts";
import { findLease, keyOf, type LeaseKeys, parsePublicAddress, parseSubnets } from "./lease-arguments.ts";
import { leaseOutput, leasePage, leaseTable } from "./lease-view.ts";

export async function listLeases(invocation: Invocation): Promise<ExitCode> {
  const leases = await withNetworkStore(invocation, async (store) =>
    withTimeToLive(invocation, store, await store.list(invocation.signal)),
  );
  present(invocation, leaseListOutputSchema, { leases }, (output) => leaseTable(output.leases));
  return exitCodes.ok;
}

/** `name` is a key, or a subnet of the lease. */
export async function showLease(invocation: Invocation, name: string): Promise<ExitCode> {
  const leases = await withNetworkStore(invocation, async (store) => {
    const found = findLease(await store.list(invocation.signal), name, keysOf(invocation));
    return withTimeToLive(invocation, store, found === undefined ? [] : [found]);
  });
  const [lease] = leases;
  if (lease === undefined) throw new FlannelError("LEASE_LOST", `there is no lease ${name}; see flannelctl lease list`);
  present(invocation, leaseShowOutputSchema, { lease }, (output) => leasePage(output.lease));
  return exitCodes.ok;
}

export interface ReserveOptions {
  readonly publicIp?: string;
  readonly publicIpv6?: string;
}

/** Writes a key without expiry; on a living lease of that host this only removes the expiry. */
export async function reserveLease(invocation: Invocation, text: string, options: ReserveOptions): Promise<ExitCode> {
  const { signal } = invocation;
  const subnets = parseSubnets(text);
  const owner = {
    ...(options.publicIp !== undefined && { publicIp: parsePublicAddress(options.publicIp, 4, "--public-ip") }),
    ...(options.publicIpv6 !== undefined && { publicIpv6: parsePublicAddress(options.publicIpv6, 6, "--public-ipv6") }),
  };
  if (owner.publicIp === undefined && owner.publicIpv6 === undefined) {
    throw new FlannelError(
      "USAGE",
      "the host of the reservation is missing: give its --public-ip, or its --public-ipv6 if it has no IPv4",
    );
  }
  const { lease, outcome } = await withNetworkStore(invocation, async (store) => {
    const { config } = parseConfig((await store.networkConfig(signal)).text);
    return store.reserve({ config, subnets, owner }, signal);
  });
  const output = { lease: leaseOutput(lease, undefined, invocation.terminal.nowMs()), outcome };
  const done = {
    created: "reserved for",
    kept: "no longer expires: it is the active lease of",
    unchanged: "is already reserved for",
  };
  present(invocation, leaseReserveOutputSchema, output, (value) => [
    `${value.lease.key} ${done[value.outcome]} ${value.lease.publicIp ?? value.lease.publicIpv6}`,
  ]);
  return exitCodes.ok;
}

/** A reservation of a host gets its 24 h back, one no host ever took is deleted; a lease only with `force`. */
export async function releaseLease(
  invocation: Invocation,
  name: string,
  { force }: { readonly force: boolean },
): Promise<ExitCode> {
  const { signal } = invocation;
  const keys = keysOf(invocation);
  const named = keyOf(name, keys);
  const output = await withNetworkStore(invocation, async (store) => {
    // The whole key of a dual-stack lease named by one subnet; an unreadable lease is in no list, but has its key.
    const key = findLease(await store.list(signal), name, keys)?.key ?? named;
    return { key, outcome: await store.release(key, { force }, signal) };
  });
  present(invocation, leaseReleaseOutputSchema, output, ({ key, outcome }) => [
    outcome === "deleted"
      ? `${key} deleted`
      : `${key} is an ordinary lease again: it expires unless its host renews it`,
  ]);
  return exitCodes.ok;
}

function keysOf({ options }: Invocation): LeaseKeys {
  return options.kubernetes === undefined ? "subnets" : "nodes";
}

async function withTimeToLive(
  { signal, terminal }: Invocation,
  store: LeaseAdministration,
  leases: readonly Lease[],
): Promise<LeaseOutput[]> {
  const seconds = await store.timeToLive(leases, signal);
  const nowMs = terminal.nowMs();
  return leases.map((lease) => leaseOutput(lease, seconds.get(lease.key), nowMs));
}
