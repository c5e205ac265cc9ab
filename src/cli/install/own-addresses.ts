// The addresses of this host: which one others reach it by, where a store listens, what a network must not overlap.
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { FlannelError, hasCode } from "../../errors.ts";
import { hostAndPort } from "../../flannel-store/grpc/store-address.ts";
import { parseListenAddress, parseListenTarget } from "../../flannel-store/server/listen-address.ts";
import {
  type Address,
  familyOf,
  type Prefix,
  parseAddress,
  tryParseAddress,
  tryParsePrefix,
} from "../../ip/address.ts";
import { networkOf, overlaps } from "../../ip/prefix.ts";
import { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { selectExternalInterface } from "../../underlay/select-interface.ts";

/** The one of the default route: IPv4 where there is such a route. Throws `USAGE` when there is none. */
export async function defaultAddress(): Promise<Address> {
  await using rtnetlink = Rtnetlink.open();
  for (const family of [4, 6] as const) {
    try {
      const selection = { families: new Set([family]), interfaces: [], interfaceRegexes: [] };
      const { address, ipv6Address } = (await selectExternalInterface(selection, rtnetlink)).interface;
      const found = family === 4 ? address : ipv6Address;
      if (found !== undefined) return parseAddress(found);
    } catch (error) {
      if (!hasCode(error, "INTERFACE_NOT_FOUND")) throw error;
    }
  }
  throw new FlannelError(
    "USAGE",
    `this host has no default route, so its address is unknown: give the address under which other hosts reach it with --address (it has ${ownAddresses().join(", ") || "none"})`,
  );
}

/** Without loopback and link-local ones. */
export function ownAddresses(): Address[] {
  return interfaceAddresses().flatMap(({ address }) => {
    const parsed = tryParseAddress(address);
    return parsed === undefined || parsed.startsWith("fe80:") ? [] : [parsed];
  });
}

/**
 * Where the store listens so that it is reached by `addresses`, and by this host itself whatever its address is. An
 * address that is not this host's is translated somewhere: then it listens on all.
 */
export function listenAddresses(addresses: readonly Address[], port: number): string[] {
  const own = new Set(ownAddresses());
  const foreign = addresses.filter((address) => !own.has(address));
  if (foreign.length > 0)
    return [hostAndPort(addresses.some((address) => familyOf(address) === 6) ? "::" : "0.0.0.0", port)];
  return [...addresses, "127.0.0.1"].map((address) => hostAndPort(address, port));
}

/** `HOST:PORT`s. Throws `USAGE` when another program listens there. */
export async function checkPortFree(listen: readonly string[]): Promise<void> {
  for (const address of listen) {
    const { host, port } = parseListenAddress(address);
    const { promise, resolve } = Promise.withResolvers<NodeJS.ErrnoException | undefined>();
    const server = createServer();
    server.once("error", resolve);
    server.listen({ port, host }, () => server.close(() => resolve(undefined)));
    const error = await promise;
    if (error?.code === "EADDRINUSE") {
      throw new FlannelError("USAGE", `${address} is in use by another program (etcd?): choose another with --port`);
    }
    if (error !== undefined) throw new FlannelError("USAGE", `cannot listen on ${address}: ${error.message}`);
  }
}

/** Those of `wanted` that a program which listens on `present` leaves to others. */
export function listenBeside(wanted: readonly string[], present: readonly string[]): string[] {
  const isOnAll = (host: string) => host === "0.0.0.0" || host === "::";
  const taken = present.map(parseListenTarget).flatMap((target) => ("path" in target ? [] : [target]));
  return wanted.filter((address) => {
    const { host, port } = parseListenAddress(address);
    return !taken.some((one) => one.port === port && (one.host === host || isOnAll(one.host) || isOnAll(host)));
  });
}

/** Throws `USAGE` when a network of containers would hide one that this host is in. */
export function checkNoOverlap(network: Prefix): void {
  for (const { name, cidr } of interfaceAddresses()) {
    const prefix = cidr === null ? undefined : tryParsePrefix(cidr);
    // What an earlier flannel left is adopted.
    if (prefix === undefined || name.startsWith("flannel") || !overlaps(network, networkOf(prefix))) continue;
    throw new FlannelError(
      "USAGE",
      `the network ${network} overlaps with ${cidr} of ${name}: choose another one with --network`,
    );
  }
}

function interfaceAddresses() {
  const all = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    (addresses ?? []).map((address) => ({ name, ...address })),
  );
  return all.filter(({ internal }) => !internal);
}
