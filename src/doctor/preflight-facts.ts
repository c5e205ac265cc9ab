// Gathers what preflight judges.
import { readFileSync } from "node:fs";
import { hasCode } from "../errors.ts";
import type { ForwardDrop } from "../firewall/forward-drops.ts";
import { type Address, type Prefix, prefixAddress } from "../ip/address.ts";
import { overlaps } from "../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type LinkMessage, type RouteMessage } from "../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../netlink/rtnetlink/rtnetlink.ts";
import { createVxlan } from "../netlink/rtnetlink/vxlan.ts";
import { routeTable, rtn } from "../netlink/uapi.ts";
import { readSysctl } from "../sys/sysctl.ts";
import { isSystemTable, type PolicyRouting, type TableRoute } from "./policy-rules.ts";
import {
  evaluatePreflight,
  forwardingKeyOf,
  type PreflightContext,
  type PreflightFacts,
  type PreflightFinding,
  rpFilterKeyOf,
} from "./preflight.ts";

export class Preflight {
  /** Stays the caller's. */
  readonly #netlink: Rtnetlink;
  readonly #findForwardDrops: () => Promise<readonly ForwardDrop[]>;
  /** A kernel does not lose the ability while it runs. */
  #canMakeVxlan = false;

  constructor(netlink: Rtnetlink, findForwardDrops: () => Promise<readonly ForwardDrop[]>) {
    this.#netlink = netlink;
    this.#findForwardDrops = findForwardDrops;
  }

  /** What stands in the way now; throws only when the kernel cannot be read. */
  async evaluate(context: PreflightContext): Promise<PreflightFinding[]> {
    return evaluatePreflight(context, await this.#gather(context));
  }

  async #gather(context: PreflightContext): Promise<PreflightFacts> {
    const links = await this.#netlink.dump("link");
    const nameOf = new Map(links.map((link) => [link.index, link.name]));
    const isForeign = (index: number | undefined): boolean => !context.devices.includes(nameOf.get(index ?? 0) ?? "");
    const addresses = await this.#netlink.dump("address");
    const routes = await this.#netlink.dump("route", { table: routeTable.main });
    const refusal = await this.#deviceRefusal(context, links);
    return {
      sysctls: readSysctls(context),
      addresses: addresses
        .filter(({ index, address }) => isForeign(index) && !/^(127\.|::1\/|fe[89ab])/.test(address))
        .map(({ index, address }) => ({ address, device: nameOf.get(index) ?? "?" })),
      routes: routes
        .filter(({ type, protocol }) => type === rtn.unicast && protocol !== FLANNEL_PROTOCOL)
        .filter(({ outIndex, destination }) => isForeign(outIndex) && !prefixAddress(destination).startsWith("fe80:"))
        .map(({ destination, outIndex, gateway }) => ({
          destination,
          device: nameOf.get(outIndex ?? 0) ?? "?",
          hasGateway: gateway !== undefined,
        })),
      forwardDrops: await this.#findForwardDrops(),
      foreignUdpPorts: foreignUdpPorts(links),
      policyRouting: await this.#policyRouting(context.networks, routes, nameOf),
      ...(refusal === undefined ? {} : { deviceRefusal: refusal }),
    };
  }

  /** Reads the tables that rules lead to, of which most hosts have none. */
  async #policyRouting(
    networks: readonly Prefix[],
    mainRoutes: readonly RouteMessage[],
    nameOf: ReadonlyMap<number, string>,
  ): Promise<PolicyRouting> {
    const rules = await this.#netlink.dump("rule");
    const tables = new Map<number, readonly TableRoute[]>();
    const targets = new Set(rules.map(({ table }) => table).filter((table) => table !== 0 && !isSystemTable(table)));
    if (targets.size === 0) return { rules, tables };
    const mainWays = new Set(mainRoutes.map(wayOf));
    for (const table of targets) {
      const routes = await this.#netlink.dumpAs("route", { table }, (route): TableRoute | undefined => {
        const { destination, type, outIndex, gateway } = route;
        if (!networks.some((network) => overlaps(network, destination))) return undefined;
        const device = nameOf.get(outIndex ?? 0);
        return {
          destination,
          type,
          ...(device === undefined ? {} : { device }),
          ...(gateway === undefined ? {} : { gateway }),
          isInMain: mainWays.has(wayOf(route)),
        };
      });
      tables.set(table, routes);
    }
    return { rules, tables };
  }

  /**
   * Asks for a device with a VNI that does not exist: a kernel that knows vxlan (or loads it now) rejects the number,
   * any other the kind; none makes a device.
   */
  async #deviceRefusal(context: PreflightContext, links: readonly LinkMessage[]): Promise<string | undefined> {
    const kind = context.needs.kernelDevice?.kind;
    if (kind === undefined) return undefined;
    this.#canMakeVxlan ||= links.some((link) => link.kind === kind);
    if (this.#canMakeVxlan) return undefined;
    const probe = createVxlan({
      name: "flannel.probe",
      mac: "02:00:00:00:00:00",
      mtuBytes: 1_450,
      vni: 1 << 24,
      port: 0,
      local: "127.0.0.1" as Address,
      underlayIndex: context.externalInterface.index,
      learning: false,
      gbp: false,
    });
    const [error] = await this.#netlink.apply([probe]);
    this.#canMakeVxlan = !hasCode(error, "kernel.unsupported");
    return this.#canMakeVxlan ? undefined : error?.message;
  }
}

/** Equal for routes that send the same packets the same way. */
function wayOf({ destination, type, outIndex, gateway }: RouteMessage): string {
  return `${destination} ${type} ${outIndex} ${gateway}`;
}

function readSysctls(context: PreflightContext): ReadonlyMap<string, string> {
  const devices = ["all", context.externalInterface.name, ...context.devices];
  const keys = [forwardingKeyOf(4), forwardingKeyOf(6), ...devices.map(rpFilterKeyOf)];
  const values = new Map<string, string>();
  for (const key of keys) {
    const value = readSysctl(key);
    if (value !== undefined) values.set(key, value);
  }
  return values;
}

/** The kernel's own vxlan sockets are listed like any other: told apart by the devices that are up. */
function foreignUdpPorts(links: readonly LinkMessage[]): ReadonlySet<number> {
  const ports = new Set(["/proc/net/udp", "/proc/net/udp6"].flatMap((file) => readUdpPorts(readOrEmpty(file))));
  for (const link of links) if (link.isUp && link.vxlan !== undefined) ports.delete(link.vxlan.port);
  return ports;
}

/** Local ports of a /proc/net/udp listing. */
export function readUdpPorts(text: string): number[] {
  return [...text.matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) /gm)].map((match) => Number.parseInt(match[1] ?? "", 16));
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
