// The way of packets to one address as the kernel of this host has it: route, next hop, forwarding entry, device, and the way
// outside of the tunnel, each beside what the agent wants. Reads only.

import type { DesiredWay } from "../../../agent/control/trace-protocol.ts";
import { type InsideDevice, type PlannedWay, wayFault, wayQuestions } from "../../../doctor/peer-ways.ts";
import { readWayContext } from "../../../doctor/way-context.ts";
import { readWayRoutes } from "../../../doctor/way-routes.ts";
import { type Address, familyOf, type Prefix, tryParseAddress } from "../../../ip/address.ts";
import { containsAddress } from "../../../ip/prefix.ts";
import type { RouteAnswer, Rtnetlink } from "../../../netlink/rtnetlink/rtnetlink.ts";
import { bridgePortOf } from "./bridge-port.ts";
import { carrierLines } from "./carrier-lines.ts";
import type { KernelView } from "./kernel-view.ts";
import { answerText, ipCommand, isUnresolved, neighbourText } from "./route-text.ts";
import type { TraceLine } from "./trace-line.ts";

/** What was read, for the live test as well. */
export interface KernelWay {
  readonly lines: readonly TraceLine[];
  /** By which packets leave towards the address. */
  readonly outDevice?: string;
  /** Where containers of this host are. */
  readonly inside?: Omit<InsideDevice, "device"> & { readonly device: string };
  /** What packets for the peer's host leave by, and to which address they go. */
  readonly outside?: { readonly address: Address; readonly device: string };
  readonly deviceNames: ReadonlyMap<number, string>;
  /** Of the containers, where they have one. */
  readonly bridge?: { readonly index: number; readonly name: string; readonly mac: string; readonly mtuBytes: number };
}

export async function readKernelWay(netlink: Rtnetlink, desired: DesiredWay, address: Address): Promise<KernelWay> {
  const view = await openView(netlink, desired);
  const nameOf = view.context.name;
  const [answer = { errno: "EPROTO" }] = await netlink.routeLookups([{ destination: address }]);
  const inside = view.context.inside[familyOf(address)];
  const lines: TraceLine[] = [];
  let outside: KernelWay["outside"];
  if (desired.place === "peer") {
    lines.push(...(await peerRoutes(view, desired, address, answer)));
    const carried = await carrierLines(view, desired, address, answer);
    lines.push(...carried.lines);
    if (carried.outside !== undefined) {
      const found = await outsideWay(view, desired, carried.outside);
      lines.push(...found.lines);
      outside = found.outside;
    }
  } else if (desired.place === "here") lines.push(...(await localLines(view, address, answer)));
  else if (desired.place === "host") {
    const found = await outsideWay(view, desired, address);
    lines.push(...found.lines);
    outside = found.outside;
  } else lines.push({ station: "route", text: answerText(answer, nameOf), verdict: "note" });
  const outDevice = outDeviceOf(answer, view);
  return {
    lines,
    ...(outDevice !== undefined && { outDevice }),
    ...(inside !== undefined && { inside: { ...inside, device: inside.device.name } }),
    ...(outside !== undefined && { outside }),
    ...bridgeOf(view, inside?.device.name),
    deviceNames: new Map(view.links.map(({ index, name }) => [index, name])),
  };
}

function bridgeOf({ links }: KernelView, device: string | undefined): Pick<KernelWay, "bridge"> {
  const link = links.find(({ name, kind }) => name === device && kind === "bridge");
  if (link?.mac === undefined) return {};
  const { index, name, mac, mtuBytes } = link;
  return { bridge: { index, name, mac, mtuBytes } };
}

async function openView(netlink: Rtnetlink, desired: DesiredWay): Promise<KernelView> {
  const [networks, ownSubnets] = [desired.networks as Prefix[], desired.ownSubnets as Prefix[]];
  const { routed } = await readWayRoutes(netlink, new Map(), { networks, ownSubnets });
  const context = await readWayContext(netlink, { networks, ownSubnets, routed, ownDevices: desired.ownDevices });
  return {
    netlink,
    links: await netlink.dump("link"),
    context,
    neighbours: async (device, family) => {
      const index = context.device(device)?.index;
      return index === undefined ? [] : await netlink.dump("neighbour", { index, family });
    },
  };
}

/** Undefined when the kernel refuses. */
function outDeviceOf({ route }: RouteAnswer, { context }: KernelView): string | undefined {
  const index = route?.outIndex ?? route?.nextHops?.[0]?.outIndex;
  return index === undefined ? undefined : context.name(index);
}

/** Of this host's packets, of those of its containers, and of what comes back. */
async function peerRoutes(
  view: KernelView,
  desired: DesiredWay,
  address: Address,
  own: RouteAnswer,
): Promise<TraceLine[]> {
  const { context, netlink } = view;
  const way = plannedWay(desired, address);
  if (way === undefined) return [{ station: "route", text: answerText(own, context.name), verdict: "note" }];
  const questions = wayQuestions(way, [address], context).filter(({ step }) => step !== "underlay");
  const answers = await netlink.routeLookups(questions.map(({ query }) => query));
  const lines: TraceLine[] = [];
  for (const [at, question] of questions.entries()) {
    const answer = answers[at] ?? own;
    const fault = wayFault(question, answer, way, context);
    const isElsewhere = question.step === "out" && isOtherGateway(answer, desired);
    const isWrong = fault !== undefined || isElsewhere;
    const inside = context.inside[familyOf(address)]?.device.name;
    const incoming = question.step === "forward" ? inside : way.device;
    lines.push({
      ...routeQuestionText(question, incoming, answerText(answer, context.name)),
      verdict: fault !== undefined ? "bad" : isElsewhere ? "differs" : "ok",
      ...(fault !== undefined && { remedy: fault.remedy }),
      ...(isWrong && question.step !== "in" && desired.route !== undefined && { desired: desired.route.line }),
    });
  }
  return lines;
}

function routeQuestionText(
  { step, query: { destination, source } }: ReturnType<typeof wayQuestions>[number],
  incoming: string | undefined,
  answer: string,
): Pick<TraceLine, "station" | "text"> {
  if (step === "out") return { station: "route", text: `${destination} ${answer}` };
  const text = `${destination} from ${source}, in by ${incoming}: ${answer}`;
  return { station: step === "forward" ? "forward" : "return", text };
}

function plannedWay(desired: DesiredWay, address: Address): PlannedWay | undefined {
  const { route, lease, outside, carriedBy } = desired;
  const subnet = [lease?.subnet, lease?.ipv6Subnet].find(
    (prefix) => prefix !== undefined && containsAddress(prefix as Prefix, address),
  ) as Prefix | undefined;
  if (route === undefined || lease === undefined || subnet === undefined) return undefined;
  const gateway = carriedBy === "direct" ? tryParseAddress(route.gateway ?? "") : undefined;
  const publicIp = tryParseAddress(outside?.address ?? "");
  return {
    ...{ peer: lease.key, subnet, device: route.device, isInPlace: true },
    ...(gateway !== undefined && { gateway }),
    ...(publicIp !== undefined && { publicIp }),
  };
}

function isOtherGateway({ route }: RouteAnswer, desired: DesiredWay): boolean {
  const gateway = route?.gateway ?? route?.nextHops?.[0]?.gateway;
  return route !== undefined && gateway !== desired.route?.gateway;
}

/** From this host to the peer's, without the tunnel. */
async function outsideWay(
  { context, netlink, links, neighbours }: KernelView,
  desired: DesiredWay,
  host: Address,
): Promise<{ readonly lines: TraceLine[]; readonly outside?: NonNullable<KernelWay["outside"]> }> {
  const [answer = { errno: "EPROTO" }] = await netlink.routeLookups([{ destination: host }]);
  const text = `${host} ${answerText(answer, context.name)}`;
  const { route } = answer;
  const remedy = `${ipCommand(host)} route get ${host} # and mend the route to the peer's host`;
  if (route === undefined) return { lines: [{ station: "outside", text, verdict: "bad", remedy }] };
  const device = context.name(route.outIndex ?? route.nextHops?.[0]?.outIndex);
  const isInTunnel = desired.ownDevices.includes(device);
  const link = links.find(({ name }) => name === device);
  const isDown = link !== undefined && !(link.isUp && link.isRunning);
  const lines: TraceLine[] = [
    {
      station: "outside",
      text: `${text}${isInTunnel ? ": into the tunnel itself" : ""}${isDown ? ": the device is down, or has no carrier" : ""}`,
      verdict: isInTunnel || isDown ? "bad" : "ok",
      ...(isInTunnel && { remedy }),
      ...(isDown && { remedy: `ip link set ${device} up # and look at the cable or the other end` }),
    },
  ];
  const hop = route.gateway ?? route.nextHops?.[0]?.gateway ?? host;
  const neighbour = (await neighbours(device, familyOf(hop))).find((one) => one.address === hop);
  if (neighbour !== undefined) {
    const isBad = isUnresolved(neighbour);
    lines.push({
      station: "outside",
      text: neighbourText(neighbour, device),
      verdict: isBad ? "bad" : "ok",
      ...(isBad && { remedy: `# nobody on ${device} answers for ${hop}: is that host up, and on this link?` }),
    });
  }
  return { lines, outside: { address: host, device } };
}

/** To a container of this host. */
async function localLines(view: KernelView, address: Address, answer: RouteAnswer): Promise<TraceLine[]> {
  const { context, neighbours } = view;
  const device = outDeviceOf(answer, view);
  const inside = context.inside[familyOf(address)]?.device.name;
  const isOwn = answer.route?.type === 2;
  const isRight = isOwn || (device !== undefined && (inside === undefined || device === inside));
  const lines: TraceLine[] = [
    {
      station: "route",
      text: `${address} ${answerText(answer, context.name)}`,
      verdict: isRight ? "ok" : "bad",
      ...(!isRight && {
        desired: `dev ${inside ?? "of the containers"}`,
        remedy: `${ipCommand(address)} route get ${address} # and delete the route in the program that added it`,
      }),
    },
  ];
  if (isOwn || device === undefined) return lines;
  const neighbour = (await neighbours(device, familyOf(address))).find((one) => one.address === address);
  return [...lines, containerLine(address, device, neighbour)];
}

function containerLine(
  address: Address,
  device: string,
  neighbour: Awaited<ReturnType<KernelView["neighbours"]>>[number] | undefined,
): TraceLine {
  if (neighbour === undefined) {
    return { station: "container", text: `nothing was sent to ${address} of late`, verdict: "note" };
  }
  const port = neighbour.mac === undefined ? undefined : bridgePortOf(device, neighbour.mac);
  const isBad = isUnresolved(neighbour);
  return {
    station: "container",
    text: `${neighbourText(neighbour, device)}${port === undefined ? "" : `, behind port ${port}`}`,
    verdict: isBad ? "bad" : "ok",
    ...(isBad && { remedy: `# nobody on ${device} answers for ${address}: there is no such container, or it is down` }),
  };
}
