// What is done to a host while no agent runs on it: all of ours taken away, or made fit for a return to upstream.
// Goes through the reconciler like everything else that changes a host.
import type { Prefix } from "../ip/address.ts";
import { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { removeTuns } from "../sys/tun-device.ts";
import type { Logger } from "../telemetry/logger.ts";
import { emptyHostState } from "./kinds/host-state.ts";
import type { Ownership } from "./kinds/links.ts";
import { routeKind } from "./kinds/route.ts";
import type { HostRoute } from "./kinds/route-form.ts";
import { hostDifference } from "./reconcile/host-difference.ts";
import { look } from "./reconcile/host-observer.ts";
import { newHostView } from "./reconcile/host-view.ts";
import type { HostFailure } from "./reconcile/reconcile-pass.ts";
import { Reconciler } from "./reconcile/reconciler.ts";

/** What belongs to one agent. */
export interface AgentScope {
  /** Names of its devices. */
  readonly devices: readonly string[];
  /** Its networks: routes with our protocol number inside them are its own. */
  readonly networks: readonly Prefix[];
  /** Of its own, where its routes stand and its rules lead; missing: the main one. */
  readonly tables?: readonly number[];
}

export interface WithoutAgentOptions {
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

export interface CleanupResult {
  /** As `ip` and `bridge` show them; what is on a removed device goes with it and is not listed. */
  readonly removed: readonly string[];
  readonly failures: readonly HostFailure[];
}

/** Devices are recognised by their kind and name together: a name alone may be anybody's. */
export interface DevicePattern {
  readonly kind: string;
  readonly pattern: RegExp;
}

/** The devices of this host that fit one of the patterns. */
export async function findDevices(patterns: readonly DevicePattern[]): Promise<string[]> {
  await using netlink = Rtnetlink.open();
  const links = await netlink.dump("link");
  return links
    .filter((link) => patterns.some(({ kind, pattern }) => link.kind === kind && pattern.test(link.name)))
    .map(({ name }) => name);
}

/** Removes everything of `scope` from the kernel; with `isDryRun` only says what that would be. */
export async function cleanUpHost(
  scope: AgentScope,
  { isDryRun, ...options }: WithoutAgentOptions & { readonly isDryRun: boolean },
): Promise<CleanupResult> {
  const found = (await differenceToNothing(scope)).map((line) => line.slice("- ".length));
  if (isDryRun) return { removed: found, failures: [] };
  await using reconciler = await openReconciler(scope, options);
  const { failures } = await reconciler.setDesired(emptyHostState, { prune: true });
  const failed = new Set(failures.map(({ object }) => object));
  return { removed: found.filter((line) => !failed.has(line)), failures };
}

export interface HandedOverHost {
  readonly rewrittenRoutes: number;
  readonly releasedDevices: readonly string[];
}

/**
 * Rewrites routes through next-hop objects as plain ones, which upstream knows how to delete, without a gap; and takes away
 * TUN devices: upstream makes the next free one, and would leave the network's route on ours. Throws `KERNEL_BUSY`, before
 * anything is changed, when a process holds such a device.
 */
export async function handOverHost(scope: AgentScope, options: WithoutAgentOptions): Promise<HandedOverHost> {
  const releasedDevices = await findOwnDevices(scope, "tun");
  removeTuns(releasedDevices);
  const route = await findIndirectRoutes(scope);
  await using reconciler = await openReconciler(scope, options);
  await reconciler.setDesired({ route }, { prune: false });
  return { ...(await reconciler.handover()), releasedDevices };
}

async function findOwnDevices({ devices }: AgentScope, kind: string): Promise<string[]> {
  await using netlink = Rtnetlink.open();
  const links = await netlink.dump("link");
  return links.filter((link) => link.kind === kind && devices.includes(link.name)).map(({ name }) => name);
}

function openReconciler(
  { devices, networks, tables = [] }: AgentScope,
  options: WithoutAgentOptions,
): Promise<Reconciler> {
  const [routeTable, ...staleTables] = tables;
  const own = {
    devices,
    ownedNetworks: networks,
    isIsolated: true,
    staleTables,
    ...(routeTable !== undefined && { routeTable }),
  };
  return Reconciler.open({ ...own, auditIntervalMs: 0, ...options });
}

async function differenceToNothing(scope: AgentScope): Promise<string[]> {
  await using netlink = Rtnetlink.open();
  return await hostDifference(netlink, ownershipOf(scope), emptyHostState, { prune: true });
}

async function findIndirectRoutes(scope: AgentScope): Promise<HostRoute[]> {
  await using netlink = Rtnetlink.open();
  const view = newHostView(netlink, ownershipOf(scope));
  await look(new Set([routeKind]), view, () => undefined);
  const routes: HostRoute[] = [];
  for (const { observed } of view.slots.slots(routeKind)) {
    const { destination, device, gateway, onLink, nextHopId } = observed ?? {};
    if (destination === undefined || device === undefined || gateway === undefined) continue;
    if (nextHopId !== undefined) routes.push({ destination, device, gateway, onLink: onLink === true });
  }
  return routes;
}

function ownershipOf({ devices, networks, tables = [] }: AgentScope): Ownership {
  const [routeTable, ...staleTables] = tables;
  const tableOfOwn = routeTable === undefined ? {} : { routeTable };
  return { ownDevices: new Set(devices), ownedNetworks: networks, isIsolated: true, staleTables, ...tableOfOwn };
}
