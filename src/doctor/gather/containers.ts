// Looks into the network namespaces of this host's containers, with the programs nsenter and ip: addresses, routes, and which
// interface of the host is the other end.
import { readdirSync, readlinkSync, statSync } from "node:fs";
import { describeError } from "../../errors.ts";
import { tryParseAddress, tryParsePrefix } from "../../ip/address.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import { isDeniedFile } from "../../sys/files.ts";
import { findTool, tryTool } from "../../sys/run-tool.ts";
import type { BridgePort, ContainerNamespace } from "../container-facts.ts";

const MAX_NAMESPACES = 48;
const AT_ONCE = 8;
const NAMED_DIRECTORY = "/run/netns";

interface Entry {
  /** For people: `web (pid 12)`, `h1-pod`. */
  readonly name: string;
  readonly path: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Throws `TOOL_MISSING` where this host lacks a program, and where this process may not look into any: nobody saw that there are none. */
export async function readNamespaces(limitMs: number): Promise<ContainerNamespace[]> {
  const [nsenter, ip] = [needTool("nsenter"), needTool("ip")];
  const { entries, denied } = foundNamespaces();
  let refusal = denied;
  const found: ContainerNamespace[] = [];
  for (let first = 0; first < entries.length; first += AT_ONCE) {
    const slice = entries.slice(first, first + AT_ONCE);
    const looks = await Promise.all(slice.map((entry) => lookInto(entry, { nsenter, ip, limitMs })));
    found.push(...looks.flatMap(({ namespaces = [] }) => namespaces));
    refusal ??= looks.find((look) => look.denied !== undefined)?.denied;
  }
  if (found.length === 0 && refusal !== undefined) {
    throw new Error(`this process may not look into containers (${refusal}): run flannelctl as root on that host`);
  }
  return found;
}

/** Throws where this host lacks the program. */
export function needTool(name: string): string {
  const path = findTool(name);
  if (path === undefined) throw new Error(`this host has no program ${name}`);
  return path;
}

/**
 * Without the index of another end that is not on this host: an index says nothing of the namespace that it counts in. `links`: of
 * this host. Pure.
 */
export function withOwnEnds(
  namespaces: readonly ContainerNamespace[],
  links: readonly LinkMessage[],
): ContainerNamespace[] {
  const peers = new Map(links.map(({ index, peerIndex }) => [index, peerIndex]));
  return namespaces.map((namespace) => ({
    ...namespace,
    interfaces: namespace.interfaces.map(({ peerIndex, ...device }) =>
      peerIndex === undefined || peers.get(peerIndex) !== device.index ? device : { ...device, peerIndex },
    ),
  }));
}

/** One entry for each namespace but our own, of so many at most. `denied`: why some of them were not to be had. */
export function foundNamespaces(most = MAX_NAMESPACES): {
  readonly entries: Entry[];
  readonly denied: string | undefined;
} {
  const known = new Set([linkOf("/proc/self/ns/net").id]);
  const entries: Entry[] = [];
  let denied: string | undefined;
  const add = (name: string, path: string, id: string | undefined) => {
    if (id === undefined || known.has(id) || entries.length >= most) return;
    known.add(id);
    entries.push({ name, path });
  };
  for (const pid of listOf("/proc").filter((name) => /^\d+$/.test(name))) {
    const link = linkOf(`/proc/${pid}/ns/net`);
    add(`pid ${pid}`, `/proc/${pid}/ns/net`, link.id);
    denied ??= link.denied;
  }
  for (const name of listOf(NAMED_DIRECTORY))
    add(name, `${NAMED_DIRECTORY}/${name}`, idOf(`${NAMED_DIRECTORY}/${name}`));
  return { entries, denied };
}

/** As the links in /proc have it: a name is a mount of the same inode. */
function idOf(path: string): string | undefined {
  try {
    return `net:[${statSync(path).ino}]`;
  } catch {
    return undefined;
  }
}

function linkOf(path: string): { readonly id?: string; readonly denied?: string } {
  try {
    return { id: readlinkSync(path) };
  } catch (error) {
    return isDeniedFile(error) ? { denied: describeError(error) } : {};
  }
}

function listOf(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Nothing when it went meanwhile. `denied`: why this process may not enter it. */
async function lookInto(
  { name, path }: Entry,
  { nsenter, ip, limitMs }: { readonly nsenter: string; readonly ip: string; readonly limitMs: number },
): Promise<{ readonly namespaces?: readonly ContainerNamespace[]; readonly denied?: string }> {
  let denied: string | undefined;
  const ask = async (...words: string[]) => {
    const { stdout, stderr } = await tryTool(nsenter, [`--net=${path}`, ip, "-j", ...words], "", limitMs);
    denied ??= /^nsenter: .*(?:not permitted|denied).*$/m.exec(stderr)?.[0];
    return parseList(stdout);
  };
  const addresses = await ask("addr", "show");
  if (denied !== undefined) return { denied };
  const interfaces = addresses.flatMap(readInterface);
  if (interfaces.every((each) => each.addresses.length === 0)) return {};
  const routes = [...(await ask("route", "show")), ...(await ask("-6", "route", "show"))];
  return { namespaces: [{ name, path, interfaces, routes: routes.flatMap(readRoute) }] };
}

function readInterface(entry: Json): ContainerNamespace["interfaces"] {
  const { ifname, ifindex: index, link_index: peerIndex, flags, mtu, addr_info: addresses, address: mac } = entry;
  if (typeof ifname !== "string" || typeof index !== "number" || ifname === "lo") return [];
  return [
    {
      name: ifname,
      index,
      isUp: Array.isArray(flags) && flags.includes("UP"),
      ...(typeof mac === "string" && { mac }),
      mtuBytes: typeof mtu === "number" ? mtu : 0,
      ...(typeof peerIndex === "number" && { peerIndex }),
      addresses: asList(addresses).flatMap(
        ({ local, prefixlen }) => tryParsePrefix(`${String(local)}/${String(prefixlen)}`) ?? [],
      ),
    },
  ];
}

/** Of what `ip -j route` calls a destination: `default`, an address, or a prefix. */
function prefixText(destination: string, isIpv6: boolean): string {
  if (destination === "default") return isIpv6 ? "::/0" : "0.0.0.0/0";
  return destination.includes("/") ? destination : `${destination}/${isIpv6 ? 128 : 32}`;
}

function readRoute({ dst, gateway, type }: Json): ContainerNamespace["routes"] {
  if (typeof dst !== "string" || (type !== undefined && type !== "unicast")) return [];
  const isIpv6 = dst.includes(":") || String(gateway ?? "").includes(":");
  const destination = tryParsePrefix(prefixText(dst, isIpv6));
  if (destination === undefined) return [];
  const via = typeof gateway === "string" ? tryParseAddress(gateway) : undefined;
  return [{ destination, ...(via !== undefined && { gateway: via }) }];
}

/** Throws where this host lacks the program ip. */
export async function readBridgePorts(limitMs: number): Promise<BridgePort[]> {
  const { stdout } = await tryTool(needTool("ip"), ["-j", "-d", "link", "show", "type", "bridge_slave"], "", limitMs);
  return parseList(stdout).flatMap((entry) => {
    const { ifname, ifindex, master, mtu, flags, linkinfo } = entry;
    if (typeof ifname !== "string" || typeof master !== "string") return [];
    const data = asRecord(asRecord(linkinfo)["info_slave_data"]);
    const states = ["disabled", "listening", "learning", "forwarding", "blocking"];
    const state = typeof data["state"] === "string" ? states.indexOf(data["state"]) : -1;
    const flagList: readonly unknown[] = Array.isArray(flags) ? flags : [];
    return [
      {
        ...{ name: ifname, bridge: master, index: Number(ifindex), mtuBytes: Number(mtu) },
        isUp: flagList.includes("UP"),
        hasCarrier: flagList.includes("LOWER_UP"),
        ...(state >= 0 && { state }),
      },
    ];
  });
}

function parseList(text: string): Json[] {
  try {
    return asList(JSON.parse(text === "" ? "[]" : text));
  } catch {
    return [];
  }
}

function asList(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(asRecord) : [];
}

function asRecord(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}
