// The external interface and flannel's own devices: carrier, addresses, clashes with devices of others, MAC, MTU.
import { familyOf, type Prefix, prefixAddress, prefixLength } from "../../ip/address.ts";
import { carriesTraffic, defineCheck } from "../check.ts";
import { runIp } from "../fix-step.ts";

/** linux/if_addr.h */
const ifa = { dadFailed: 0x08, deprecated: 0x20, tentative: 0x40 } as const;
const MAX_SANE_MTU_BYTES = 9_216;

export const externalDown = defineCheck({
  name: "underlay-down",
  severity: "error",
  needs: ["links"],
  appliesTo: carriesTraffic,
  check: ({ externalInterface: { index, name } }, { links }) => {
    const link = links.find((each) => each.index === index) ?? links.find((each) => each.name === name);
    if (link === undefined) return [];
    return link.isUp && link.isRunning ? [] : [link];
  },
  evidence: ({ name, isUp }) =>
    isUp ? `the external interface ${name} has no carrier` : `the external interface ${name} is down`,
  remedy: ({ name, isUp }) =>
    isUp ? `ethtool ${name} # then look at the cable, the switch, or the virtual switch` : `ip link set dev ${name} up`,
});

export const interfaceMoved = defineCheck({
  name: "interface-moved",
  severity: "error",
  needs: ["agent", "hostAddresses"],
  appliesTo: carriesTraffic,
  check: ({ externalInterface: { name } }, { agent, hostAddresses }) =>
    (agent.interfaceAddresses ?? []).flatMap((address) => {
      const found = hostAddresses.filter((each) => prefixAddress(each.address) === address);
      if (found.some(({ device }) => device === name)) return [];
      return [{ address, before: name, now: found[0]?.device }];
    }),
  evidence: ({ address, before, now }) =>
    now === undefined
      ? `${address}, by which peers reach this host, is on no interface any more (it was on ${before})`
      : `${address}, by which peers reach this host, is on ${now} now, no longer on ${before}`,
  remedy: ({ now }) =>
    now === undefined
      ? "ip addr # give the interface its address back, or restart flanneld with --iface of the new one"
      : `restart flanneld; with --iface in its flags, name ${now} there`,
});

export const addressFloating = defineCheck({
  name: "address-floating",
  severity: "warning",
  needs: ["agent", "hostAddresses"],
  appliesTo: carriesTraffic,
  check: (_context, { agent, hostAddresses }) => {
    const announced = new Set<string>([...(agent.publicIps ?? []), ...(agent.interfaceAddresses ?? [])]);
    return hostAddresses.flatMap((found) => {
      if (!announced.has(prefixAddress(found.address))) return [];
      const why = floatReason(found, hostAddresses);
      return why === undefined ? [] : [{ ...found, why }];
    });
  },
  evidence: ({ address, device, why }) => `${address} on ${device}, which this host announces to its peers, ${why}`,
  remedy: () => "restart flanneld with --public-ip and --iface of an address that stays on this host",
});

type HostAddress = { readonly address: Prefix; readonly device: string; readonly flags: number };

function floatReason({ address, device, flags }: HostAddress, all: readonly HostAddress[]): string | undefined {
  if ((flags & ifa.dadFailed) !== 0) return undefined;
  if ((flags & ifa.deprecated) !== 0) return "is deprecated: the kernel takes another one for new connections";
  if ((flags & ifa.tentative) !== 0) return "is tentative: it is not used until it is known to be nobody else's";
  const family = familyOf(address);
  if (family !== 4 || prefixLength(address) !== 32) return undefined;
  const wider = all.find(
    (other) => other.device === device && familyOf(other.address) === 4 && prefixLength(other.address) < 32,
  );
  return wider === undefined
    ? undefined
    : `has the length /32 beside ${wider.address}, as addresses have that move from host to host (keepalived, kube-vip)`;
}

export const addressDuplicate = defineCheck({
  name: "address-duplicate",
  severity: "error",
  needs: ["addressTwins", "hostAddresses"],
  appliesTo: carriesTraffic,
  check: ({ externalInterface: { name } }, { addressTwins, hostAddresses }) => [
    ...addressTwins.map(
      ({ address, mac }) => `${mac} on the link of ${name} answers for ${address}, this host's address`,
    ),
    ...hostAddresses
      .filter(({ device, flags }) => device === name && (flags & ifa.dadFailed) !== 0)
      .map(({ address }) => `the kernel found ${address} of ${name} to be in use by another machine`),
  ],
  evidence: (what) => what,
  remedy: (_, { externalInterface: { name } }) =>
    `ip neigh show dev ${name} # find that MAC address in the switch, and give one of the two machines another address`,
});

export const deviceClash = defineCheck({
  name: "vxlan-clash",
  severity: "error",
  needs: ["links"],
  appliesTo: ({ needs }) => needs.kernelDevice !== undefined,
  check: ({ needs: { kernelDevice }, devices }, { links }) => {
    const own = links.filter(({ name }) => devices.includes(name));
    return links.flatMap(({ name, vxlan, isUp }) => {
      if (vxlan === undefined || devices.includes(name) || vxlan.port !== kernelDevice?.udpPort) return [];
      const isSameVni = own.some((link) => link.vxlan?.vni === vxlan.vni) || vniOf(devices) === vxlan.vni;
      if (vxlan.isExternal === true)
        return isUp || own.length === 0 ? [{ name, how: "takes packets of every VNI" }] : [];
      return isSameVni && own.every((link) => link.vxlan?.vni !== vxlan.vni || !link.isUp)
        ? [{ name, how: `has the VNI ${vxlan.vni}` }]
        : [];
    });
  },
  evidence: ({ name, how }, { needs: { kernelDevice } }) =>
    `the vxlan device ${name} ${how} at UDP port ${kernelDevice?.udpPort}, flannel's own`,
  remedy: ({ name }) =>
    `ip link del dev ${name} # a leftover of another network plugin; if that is in use, set another Backend.Port`,
});

/** Of `flannel.1`. */
function vniOf(devices: readonly string[]): number | undefined {
  const text = /\.(\d+)$/.exec(devices[0] ?? "")?.[1];
  return text === undefined ? undefined : Number(text);
}

export const announcedMac = defineCheck({
  name: "vtep-mac-changed",
  severity: "error",
  needs: ["links", "agent"],
  appliesTo: ({ needs }) => needs.kernelDevice !== undefined,
  check: ({ devices }, { links, agent: { own } }) =>
    links.flatMap(({ name, mac }) => {
      if (!devices.includes(name) || mac === undefined) return [];
      const announced = name.includes("v6") ? own?.announcedMacV6 : own?.announcedMac;
      return announced === undefined || announced === mac ? [] : [{ name, mac, announced }];
    }),
  evidence: ({ name, mac, announced }) =>
    `${name} has the MAC address ${mac}, but the lease announces ${announced}: it drops what peers send`,
  remedy: ({ name, announced }) => `ip link set dev ${name} address ${announced}`,
  fix: ({ name, mac, announced }) => [
    runIp(`link set dev ${name} address ${announced}`, `link set dev ${name} address ${mac}`),
  ],
});

export const mtuDevice = defineCheck({
  name: "mtu-wrong-device",
  severity: "error",
  needs: ["underlayWays"],
  appliesTo: carriesTraffic,
  check: (context, { underlayWays }) => {
    const { overlayMtuBytes, externalInterface } = context;
    const outerBytes = outerBytesOf(context);
    if (overlayMtuBytes > MAX_SANE_MTU_BYTES) {
      return [
        `the MTU of the network is ${overlayMtuBytes}, from ${externalInterface.name}: no network between hosts carries that`,
      ];
    }
    const narrow = underlayWays.filter(({ device, deviceMtuBytes }) => device !== "lo" && deviceMtuBytes < outerBytes);
    const byDevice = new Map(narrow.map((way) => [way.device, way]));
    return [...byDevice.values()].map(
      ({ device, deviceMtuBytes, address }) =>
        `packets for ${address} leave through ${device} with an MTU of ${deviceMtuBytes}, but the network's ${overlayMtuBytes} ` +
        `and its overhead need ${outerBytes}`,
    );
  },
  evidence: (what) => what,
  remedy: (_, { externalInterface: { name } }) =>
    `restart flanneld with --iface of the interface to the other hosts (now ${name}), or set Backend.MTU: flannelctl config set`,
});

/** The largest packet of the tunnel, as far as the external interface has room for it. */
function outerBytesOf({ externalInterface, overlayMtuBytes, devices }: Parameters<typeof carriesTraffic>[0]): number {
  return devices.length === 0 ? overlayMtuBytes : Math.min(externalInterface.mtuBytes, overlayMtuBytes + 50);
}

export const pathMtuKnown = defineCheck({
  name: "pmtu-poisoned",
  severity: "warning",
  needs: ["underlayWays", "echoes"],
  appliesTo: carriesTraffic,
  check: (context, { underlayWays, echoes }) => {
    // What a large echo without fragments confirms is no mistake of the kernel's.
    const small = new Set<string>(
      echoes.filter(({ largeUnderlay }) => largeUnderlay === "lost").map(({ address }) => address),
    );
    return underlayWays.filter(
      ({ routeMtuBytes = 0, deviceMtuBytes, address }) =>
        routeMtuBytes > 0 && routeMtuBytes < Math.min(deviceMtuBytes, outerBytesOf(context)) && !small.has(address),
    );
  },
  evidence: ({ address, routeMtuBytes, deviceMtuBytes, device }) =>
    `the kernel sends at most ${routeMtuBytes} bytes in a packet to ${address}, where ${device} carries ${deviceMtuBytes}: a route says ` +
    "so, or a message that a packet was too big",
  remedy: ({ address }) => `ip route flush cache # a route with mtu stays: ip route get ${address}, and change it`,
  fix: () => [runIp("route flush cache", undefined)],
});
