// Reads the kernel to choose the interface that leads to the other hosts.
import { setTimeout as sleep } from "node:timers/promises";
import { FlannelError, hasCode } from "../errors.ts";
import { type Address, tryParseAddress } from "../ip/address.ts";
import type { NextHopMessage, RouteMessage } from "../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { routeTable } from "../netlink/uapi.ts";
import { addressFault, IFA_F_TENTATIVE } from "./interface-addresses.ts";
import { chooseInterface, type InterfaceChoice } from "./interface-choice.ts";
import type { InterfaceFacts, InterfaceOptions } from "./interface-facts.ts";

/** Duplicate address detection takes one to two seconds, or goes on for as long as a link has no carrier. */
const DETECTION_MS = 3_000;
const DETECTION_POLL_MS = 100;

/** See `chooseInterface` for the rules and errors. Waits for a better address while the kernel checks whether it is free. */
export async function selectExternalInterface(
  options: InterfaceOptions,
  rtnetlink: Rtnetlink,
): Promise<InterfaceChoice> {
  const deadlineMs = performance.now() + DETECTION_MS;
  for (;;) {
    const facts = await readFacts(options, rtnetlink);
    if (performance.now() >= deadlineMs || !isDetectionInTheWay(options, facts)) return chooseInterface(options, facts);
    await sleep(DETECTION_POLL_MS);
  }
}

export interface ServedInterface extends InterfaceChoice {
  /** What serves both families is not there, and IPv4 alone was chosen: why. */
  readonly ipv6Reason?: string;
}

/** As `selectExternalInterface`; in dual stack a host that cannot serve IPv6 serves IPv4. */
export async function selectServedInterface(options: InterfaceOptions, rtnetlink: Rtnetlink): Promise<ServedInterface> {
  try {
    return await selectExternalInterface(options, rtnetlink);
  } catch (error) {
    const { families } = options;
    if (!hasCode(error, "INTERFACE_NOT_FOUND") || !families.has(4) || !families.has(6)) throw error;
    const ipv4Only = { ...options, families: new Set([4] as const) };
    const choice = await selectExternalInterface(ipv4Only, rtnetlink).catch(() => {
      throw error;
    });
    return { ...choice, ipv6Reason: String(error.details["reasons"]) };
  }
}

/** Whether the choice would be another one if all addresses were free that are being checked. */
function isDetectionInTheWay(options: InterfaceOptions, facts: InterfaceFacts): boolean {
  if (!facts.addresses.some((entry) => addressFault(entry) === "tentative")) return false;
  const free = facts.addresses.map((entry) =>
    addressFault(entry) === "tentative" ? { ...entry, flags: entry.flags & ~IFA_F_TENTATIVE } : entry,
  );
  return outcomeOf(options, facts) !== outcomeOf(options, { ...facts, addresses: free });
}

function outcomeOf(options: InterfaceOptions, facts: InterfaceFacts): string {
  try {
    return JSON.stringify(chooseInterface(options, facts).interface);
  } catch (error) {
    if (!(error instanceof FlannelError) || error.code !== "INTERFACE_NOT_FOUND") throw error;
    return error.code;
  }
}

async function readFacts(options: InterfaceOptions, rtnetlink: Rtnetlink): Promise<InterfaceFacts> {
  const links = await rtnetlink.dump("link");
  const addresses = await rtnetlink.dump("address");
  const routes = await mainRoutes(rtnetlink);
  const reach = await reachOf(options, rtnetlink);
  return { links, addresses, routes, ...(reach === undefined ? {} : { reach }) };
}

/** Routes of the main table, with the devices and gateways of those whose next-hop object alone names them. */
export async function mainRoutes(rtnetlink: Rtnetlink): Promise<RouteMessage[]> {
  const routes = await rtnetlink.dump("route", { table: routeTable.main });
  // With net.ipv4.nexthop_compat_mode=0 the kernel names the object and nothing else.
  if (!routes.some(isNamedByObjectOnly)) return routes;
  const nextHops = new Map((await rtnetlink.dump("nextHop")).map((nextHop) => [nextHop.id, nextHop]));
  return routes.map((route) => (isNamedByObjectOnly(route) ? withNextHops(route, nextHops) : route));
}

function isNamedByObjectOnly({ nextHopId, outIndex, nextHops }: RouteMessage): boolean {
  return nextHopId !== undefined && outIndex === undefined && nextHops === undefined;
}

function withNextHops(route: RouteMessage, known: ReadonlyMap<number, NextHopMessage>): RouteMessage {
  const object = known.get(route.nextHopId ?? 0);
  if (object === undefined) return route;
  const { memberIds, outIndex, gateway } = object;
  if (memberIds === undefined)
    return { ...route, ...(outIndex !== undefined && { outIndex }), ...withGateway(gateway) };
  const nextHops = memberIds.flatMap((id) => {
    const member = known.get(id);
    if (member?.outIndex === undefined) return [];
    return [{ outIndex: member.outIndex, isUsable: true, ...withGateway(member.gateway) }];
  });
  return { ...route, isMultipath: true, nextHops };
}

function withGateway(gateway: Address | undefined): { readonly gateway?: Address } {
  return gateway === undefined ? {} : { gateway };
}

async function reachOf(options: InterfaceOptions, rtnetlink: Rtnetlink): Promise<InterfaceFacts["reach"]> {
  const target = options.canReach === undefined ? undefined : tryParseAddress(options.canReach);
  if (target === undefined) return undefined;
  try {
    const { outIndex, preferredSource } = await rtnetlink.routeLookup(target);
    if (outIndex === undefined) return undefined;
    return { outIndex, ...(preferredSource === undefined ? {} : { preferredSource }) };
  } catch (error) {
    if (hasCode(error, "KERNEL_NOT_FOUND")) return undefined;
    throw error;
  }
}
