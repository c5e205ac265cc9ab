// What a host announces, as annotations of its Node: byte for byte what upstream writes. Pure.
import type { AnnotationNames } from "../../config/annotation-prefix.ts";
import { type Address, type Family, familyOf, tryParseAddress } from "../../ip/address.ts";
import type { LeaseAttributes } from "../../lease/lease.ts";

export type Annotations = Readonly<Record<string, string>>;

/** Null takes an annotation away. */
export type AnnotationPatch = Readonly<Record<string, string | null>>;

/** What people demand by annotations of a Node. */
export interface DemandedAddresses {
  readonly publicIp?: Address;
  readonly publicIpv6?: Address;
}

/**
 * The annotations that announce `attributes`. An overwrite annotation among those `present` goes before the host's own
 * address. `configuredType`: the backend's type as configured; some announce none.
 */
export function wantedAnnotations(
  names: AnnotationNames,
  attributes: LeaseAttributes,
  present: Annotations,
  configuredType = "",
): Annotations {
  const { backendType = "", backendData = null, backendV6Data = null, publicIp, publicIpv6 } = attributes;
  const hasV4 = backendType !== "vxlan" || backendData !== null;
  const hasV6 = hasV6Group(attributes, configuredType);
  return {
    [names.managed]: "true",
    [names.backendType]: backendType,
    ...(hasV4 && {
      // Upstream's for a host without PreStartupCommand.
      [names.backendData]: backendType === "extension" && backendData === null ? "" : JSON.stringify(backendData),
      [names.publicIp]: overwrite(present[names.publicIpOverwrite]) ?? publicIp ?? "0.0.0.0",
    }),
    ...(hasV6 && {
      [names.backendV6Data]: JSON.stringify(backendV6Data),
      [names.publicIpv6]: overwrite(present[names.publicIpv6Overwrite]) ?? publicIpv6 ?? "::",
    }),
  };
}

/**
 * Of the backends that upstream runs over IPv6, and of udp, which we do; the others announce IPv4 alone, whatever the network
 * has.
 */
function hasV6Group({ backendType, backendV6Data, publicIpv6 }: LeaseAttributes, configuredType: string): boolean {
  switch (backendType) {
    case "vxlan":
      return backendV6Data !== undefined;
    case "wireguard":
      return backendV6Data !== undefined && publicIpv6 !== undefined;
    case "host-gw":
    case "extension":
      return publicIpv6 !== undefined;
    default:
      return configuredType === "udp" && publicIpv6 !== undefined;
  }
}

function overwrite(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

/** What differs. Announcements of a family that is no longer announced go: peers would believe them. */
export function annotationPatch(names: AnnotationNames, wanted: Annotations, present: Annotations): AnnotationPatch {
  const patch: Record<string, string | null> = {};
  for (const [name, value] of Object.entries(wanted)) if (present[name] !== value) patch[name] = value;
  for (const name of writtenNames(names))
    if (wanted[name] === undefined && present[name] !== undefined) patch[name] = null;
  return patch;
}

/** Takes away all that flannel wrote; what people wrote stays. */
export function removalPatch(names: AnnotationNames, present: Annotations): AnnotationPatch {
  return annotationPatch(names, {}, present);
}

function writtenNames(names: AnnotationNames): readonly string[] {
  const { managed, backendType, backendData, backendV6Data, publicIp, publicIpv6 } = names;
  return [managed, backendType, backendData, backendV6Data, publicIp, publicIpv6];
}

/** What the annotations of a Node demand of its own agent; what is no address is left out, with its name. */
export function demandedAddresses(
  names: AnnotationNames,
  annotations: Annotations,
): { readonly addresses: DemandedAddresses; readonly wrong: readonly string[] } {
  const wrong: string[] = [];
  const read = (name: string, family: Family): Address | undefined => {
    const text = annotations[name];
    if (text === undefined || text === "") return undefined;
    const address = tryParseAddress(text);
    if (address !== undefined && familyOf(address) === family) return address;
    wrong.push(name);
    return undefined;
  };
  const publicIp = read(names.nodePublicIp, 4);
  const publicIpv6 = read(names.nodePublicIpv6, 6);
  return { addresses: { ...(publicIp && { publicIp }), ...(publicIpv6 && { publicIpv6 }) }, wrong };
}
