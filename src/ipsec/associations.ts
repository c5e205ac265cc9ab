// What charon tells of its security associations: which peer has one, which serve nothing any more, where one has to be made.
// Pure.
import { listOf, sectionsOf, textOf, type ViciSection } from "./vici-message.ts";

/** An IKE association with a peer; several of one connection may exist at a time. */
export interface Association {
  readonly connection: string;
  readonly id: number;
  readonly isEstablished: boolean;
  /** Since it was established. */
  readonly ageSeconds: number;
  /** This host began it. */
  readonly isInitiator: boolean;
  /** Where its packets go now. */
  readonly endpoint: string | undefined;
  /** Those that carry packets. */
  readonly children: readonly ChildAssociation[];
}

export interface ChildAssociation {
  readonly id: number;
  /** Since its keys were negotiated. */
  readonly ageSeconds: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly sentPackets: number;
  readonly receivedPackets: number;
  readonly isInUdp: boolean;
  /** By which the kernel knows its two directions (SPI), eight hexadecimal digits each; none while it comes or goes. */
  readonly numbers: readonly string[];
  /** `AES_GCM_16-128`. */
  readonly algorithm: string;
}

/** `messages` are events of `list-sas`: one section each, named as the connection. */
export function readAssociations(messages: readonly ViciSection[]): readonly Association[] {
  return messages.flatMap((message) => sectionsOf(message).map(([connection, section]) => read(connection, section)));
}

function read(connection: string, section: ViciSection): Association {
  const host = textOf(section, "remote-host");
  const port = textOf(section, "remote-port");
  return {
    connection,
    id: numberOf(section, "uniqueid"),
    isEstablished: textOf(section, "state") === "ESTABLISHED",
    ageSeconds: numberOf(section, "established"),
    isInitiator: textOf(section, "initiator") === "yes",
    endpoint: host === undefined || port === undefined ? undefined : `${host}:${port}`,
    children: sectionsOf(section, "child-sas").flatMap(([, child]) => readChild(child)),
  };
}

/** While new keys are negotiated the old ones go on. */
const carryingStates: readonly (string | undefined)[] = ["INSTALLED", "UPDATING", "REKEYING", "REKEYED"];

function readChild(child: ViciSection): ChildAssociation[] {
  const state = textOf(child, "state");
  if (!carryingStates.includes(state)) return [];
  const keyBits = textOf(child, "encr-keysize");
  return [
    {
      id: numberOf(child, "uniqueid"),
      ageSeconds: numberOf(child, "install-time"),
      sentBytes: numberOf(child, "bytes-out"),
      receivedBytes: numberOf(child, "bytes-in"),
      sentPackets: numberOf(child, "packets-out"),
      receivedPackets: numberOf(child, "packets-in"),
      isInUdp: textOf(child, "encap") === "yes",
      numbers: state === "INSTALLED" ? ["spi-in", "spi-out"].flatMap((name) => textOf(child, name) ?? []) : [],
      algorithm: `${textOf(child, "encr-alg") ?? "?"}${keyBits === undefined ? "" : `-${keyBits}`}`,
    },
  ];
}

function numberOf(section: ViciSection, name: string): number {
  const number = Number(textOf(section, name) ?? 0);
  return Number.isSafeInteger(number) && number >= 0 ? number : 0;
}

/** How a peer stands by the associations of its connection. */
export type PeerState = "established" | "connecting" | "none";

export function peerState(associations: readonly Association[]): PeerState {
  if (associations.some(({ children }) => children.length > 0)) return "established";
  return associations.some(({ isEstablished }) => !isEstablished) ? "connecting" : "none";
}

/** Two hosts that begin at once have two associations of nearly the same age: both live. */
const SAME_AGE_SECONDS = 3;

/**
 * Those that the peer has given up: it began a younger one, which it does only when it has none (its charon restarted). charon
 * itself would send into the old one until a rekeying fails, up to an hour.
 */
export function outlived(associations: readonly Association[]): readonly Association[] {
  const renewed = associations.filter(({ isInitiator, children }) => !isInitiator && children.length > 0);
  const youngestSeconds = Math.min(...renewed.map(({ ageSeconds }) => ageSeconds));
  return associations.filter(
    ({ isEstablished, ageSeconds }) => isEstablished && ageSeconds - youngestSeconds >= SAME_AGE_SECONDS,
  );
}

/** What charon holds to be in the kernel and is not there: another program deleted it. Packets are dropped until it is recreated. */
export function lostInKernel(
  associations: readonly Association[],
  inKernel: ReadonlySet<string>,
): readonly { readonly association: Association; readonly child: ChildAssociation }[] {
  return associations.flatMap((association) =>
    association.children
      .filter(({ numbers }) => numbers.some((number) => !inKernel.has(number)))
      .map((child) => ({ association, child })),
  );
}

/** Why a peer refused, from what charon logs about its connection; undefined for all else. */
export function refusalIn(log: string): string | undefined {
  if (/MAC mismatched|AUTHENTICATION_FAILED/.test(log)) return "the PSK of the peer differs from this host's";
  if (/no shared key found/.test(log)) return "charon has no PSK for the peer";
  if (/received (NO_PROPOSAL_CHOSEN|INVALID_KE_PAYLOAD)|no acceptable .*proposal|no matching peer config/.test(log)) {
    return "the peer has no connection for this host (yet), or another ESPProposal";
  }
  if (/received TS_UNACCEPTABLE|traffic selectors .* unacceptable/.test(log)) {
    return "the peer knows another subnet of this host";
  }
  if (/unsupported|unable to install .*IPsec/i.test(log)) return `charon: ${log.slice(0, 200)}`;
  return undefined;
}

/** The plugins that charon has loaded, from the answer to `stats`. */
export function pluginsOf(stats: ViciSection): readonly string[] {
  return listOf(stats, "plugins");
}
