// The devices that are ours, which all else stands on.
import type { IpipAttributes, LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import { isServed } from "../../wireguard/userspace.ts";
import type { Change, Deviation, Host, Kind, Watch } from "./kind.ts";
import {
  foreignLinkReason,
  type HostLink,
  linkChanges,
  linkLine,
  type ObservedIpip,
  type ObservedLink,
  observedLinkLine,
} from "./link-form.ts";
import { programLink } from "./link-programmer.ts";
import { type LinkDirectory, OWN_LINK_KINDS } from "./links.ts";
import { neighbourKind } from "./neighbour.ts";
import { oneByOne } from "./programming.ts";

/** Protocols that devices of ours, and upstream's, carry. */
const CARRIED_PROTOCOLS: Readonly<Record<string, readonly number[]>> = { ipip: [0, 4], ip6tnl: [41] };

export const linkKind: Kind<"link", HostLink, ObservedLink> = {
  name: "link",
  key: ({ name }) => name,
  observedKey: ({ name }) => name,
  compare: (desired, observed) => {
    const refusal = foreignLinkReason(desired, observed);
    if (refusal !== undefined) return { refusal };
    const changes = linkChanges(desired, observed);
    if (changes.includes("identity")) return "recreate";
    return changes.length > 0 ? "replace" : "same";
  },
  isRemovable: ({ kind }) => OWN_LINK_KINDS.has(kind ?? ""),
  line: linkLine,
  observedLine: observedLinkLine,
  source: {
    look: async (host) => {
      const { netlink, links, ownership } = host;
      links.replaceAll(await netlink.dump("link"));
      const own = [...links.all()].filter(({ name }) => ownership.ownDevices.has(name));
      const found = [...own.map((link) => observedLink(link, links)), ...renamedLinks(host)];
      return await Promise.all(found.map((link) => withProgram(link, host)));
    },
  },
  notices: { link: deviationOf },
  auditRound: 0,
  isFoundation: true,
  dependsOn: (link) => (link.kind === "vxlan" ? link.underlay : undefined),
  losses: ({ action, slot: { desired, observed } }) => {
    if (action === "recreate" || action === "remove") return "everything";
    if (desired === undefined || observed === undefined) return [];
    // neigh_changeaddr() flushes the permanent ones too.
    return linkChanges(desired, observed).includes("mac") ? [neighbourKind] : [];
  },
  program: oneByOne(programLink),
};

/** Devices of ours that were renamed. Their old names are free: where one is taken, that device is in the way. */
function renamedLinks({ links, ownership, slots }: Host): ObservedLink[] {
  const renamed: ObservedLink[] = [];
  for (const { desired, observed } of slots.slots(linkKind)) {
    if (desired === undefined || links.byName(desired.name) !== undefined) continue;
    const link = [...links.all()].find(
      (found) => !ownership.ownDevices.has(found.name) && isUnderOtherName(desired, observed, found),
    );
    if (link !== undefined) renamed.push({ ...observedLink(link, links), name: desired.name, renamedTo: link.name });
  }
  return renamed;
}

/** The very device that had our name, or one with our MAC and VNI: peers know this host by them, and nobody else has both. */
function isUnderOtherName(
  desired: HostLink,
  before: ObservedLink | undefined,
  { index, kind, mac, vxlan }: LinkMessage,
) {
  if (kind !== desired.kind) return false;
  if (before?.kind === kind && before.index === index) return true;
  return desired.kind === "vxlan" && vxlan?.vni === desired.vni && mac === desired.mac;
}

/** A TUN device under the name of a WireGuard device of ours is one when a program answers for it. */
async function withProgram(link: ObservedLink, { slots }: Host): Promise<ObservedLink> {
  const isCandidate = link.kind === "tun" && slots.get(linkKind, link.name)?.desired?.kind === "wireguard";
  return isCandidate && (await isServed(link.name)) ? { ...link, isUserspaceWireguard: true } : link;
}

function observedLink(link: LinkMessage, links: LinkDirectory): ObservedLink {
  const { name, index, mtuBytes, isUp, kind, mac, vxlan, ipip } = link;
  const base: ObservedLink = {
    name,
    index,
    mtuBytes,
    isUp,
    ...(kind === undefined ? {} : { kind }),
    ...(mac === undefined ? {} : { mac }),
    ...(ipip === undefined ? {} : { ipip: observedIpip(kind, ipip) }),
  };
  if (vxlan === undefined) return base;
  const { vni, port, gbp, learning, local, group, l2miss, l3miss } = vxlan;
  const underlay = links.byIndex(vxlan.linkIndex)?.name;
  return {
    ...base,
    vxlan: {
      vni,
      port,
      gbp,
      learning,
      l2miss,
      l3miss,
      ...(local === undefined ? {} : { local }),
      ...(group === undefined ? {} : { group }),
      ...(underlay === undefined ? {} : { underlay }),
    },
  };
}

/** Upstream's of kind ipip have one of the two protocols that carry IPv4, by version. */
function observedIpip(kind = "", { local, remote, linkIndex, isExternal, ...settings }: IpipAttributes): ObservedIpip {
  const carried = CARRIED_PROTOCOLS[kind] ?? [];
  const deviations = [
    ...(remote === undefined ? [] : [`remote ${remote}`]),
    ...(linkIndex === undefined ? [] : [`dev index ${linkIndex}`]),
    ...(settings.ttl === 0 ? [] : [`ttl ${settings.ttl}`]),
    ...(settings.tos === 0 ? [] : [`tos ${settings.tos}`]),
    ...(settings.isPmtuDiscovered ? ["pmtudisc"] : []),
    ...(settings.isEncapsulated ? ["encap"] : []),
    ...(carried.includes(settings.protocol) ? [] : [`mode ${settings.protocol}`]),
  ];
  return {
    isExternal,
    ...(local === undefined ? {} : { local }),
    ...(deviations.length === 0 ? {} : { deviation: deviations.join(" ") }),
  };
}

/** Keeps the directory up to date for devices that are none of our business: no look follows for those. */
function deviationOf({ action, message }: Change<"link">, watch: Watch): Deviation | undefined {
  const { links, ownership, slots } = watch.host;
  const known = links.byIndex(message.index);
  const names = [message.name, known?.name ?? message.name];
  const isMine = names.some((name) => ownership.ownDevices.has(name));
  if (!isMine && !names.some((name) => watch.watchedDevices.has(name))) {
    if (action === "delete") links.delete(message);
    else links.set(message);
    return undefined;
  }
  if (watch.isResting(slots.get(linkKind, message.name))) return undefined;
  const isAsKnown =
    action === "delete" ? known === undefined : known !== undefined && isSameLink(known, message, isMine);
  return isAsKnown ? undefined : { lookAt: "everything", isNewChance: true };
}

function isSameLink(known: LinkMessage, now: LinkMessage, isMine: boolean): boolean {
  if (known.name !== now.name || known.isUp !== now.isUp) return false;
  if (!isMine) return true;
  return (
    known.kind === now.kind &&
    known.mac === now.mac &&
    known.mtuBytes === now.mtuBytes &&
    JSON.stringify(known.vxlan) === JSON.stringify(now.vxlan) &&
    JSON.stringify(known.ipip) === JSON.stringify(now.ipip)
  );
}
