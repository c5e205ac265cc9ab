// Policy rules (`ip rule`) that bear our protocol number. One cannot be changed: its key is all that it says.
import type { Prefix } from "../../ip/address.ts";
import { isInside } from "../../ip/prefix.ts";
import { FLANNEL_PROTOCOL, type RuleMessage } from "../../netlink/rtnetlink/messages.ts";
import { addRule, deleteRule, type RuleSpec, ruleText } from "../../netlink/rtnetlink/rule.ts";
import { frAct } from "../../netlink/uapi.ts";
import { type Change, type Deviation, type Host, type Kind, lookAt, type Watch } from "./kind.ts";
import type { Ownership } from "./links.ts";
import { inBatches } from "./programming.ts";

/** Looks up what matches in `table`; it may name devices that do not exist (yet). */
export type HostRule = Omit<RuleSpec, "protocol" | "action">;

export const ruleKind: Kind<"rule", HostRule, RuleMessage> = {
  name: "rule",
  key: (rule) => ruleKey(specOf(rule)),
  observedKey: ruleKey,
  compare: () => "same",
  line: (rule) => ruleText(specOf(rule)),
  observedLine: ruleText,
  source: {
    listing: { objects: "rule", filters: () => [{ protocol: FLANNEL_PROTOCOL }] },
    open: (host) => ({ read: (message: RuleMessage) => (isOurs(message, host) ? message : undefined) }),
  },
  notices: { rule: deviationOf },
  auditRound: 0,
  program: inBatches({
    write: (rule) => addRule(specOf(rule)),
    remove: deleteRule,
    settled: (rule) => ({
      ...specOf(rule),
      action: frAct.toTable,
      isInverted: rule.isInverted === true,
      isL3mdev: false,
      hasOtherSelectors: false,
    }),
    mayExist: true,
  }),
};

function specOf(rule: HostRule): RuleSpec {
  return { ...rule, protocol: FLANNEL_PROTOCOL };
}

/** Both families have rules of the same text. */
function ruleKey(rule: RuleSpec): string {
  return `IPv${rule.family} ${ruleText(rule)}`;
}

/**
 * Of those with our number: what names a network or a device of ours, and what is wanted. Another agent on this host has
 * the same number; what names neither cannot be distinguished from its rules and is only taken away by who put it there.
 */
function isOurs(message: RuleMessage, { ownership, slots }: Host): boolean {
  if (message.protocol !== FLANNEL_PROTOCOL) return false;
  const isWanted = slots.get(ruleKind, ruleKey(message))?.desired !== undefined;
  // With a table of our own, its rules are ours whatever they name, and so are those of our devices; others are another network's.
  const { routeTable: table, staleTables = [], ownDevices } = ownership;
  if (table !== undefined) {
    const comesByOurs = message.incomingDevice !== undefined && ownDevices.has(message.incomingDevice);
    return isWanted || comesByOurs || [table, ...staleTables].includes(message.table);
  }
  return isWanted || staleTables.includes(message.table) || namesOurs(message, ownership);
}

function namesOurs(message: RuleMessage, { ownDevices, ownedNetworks }: Ownership): boolean {
  const { from, to, incomingDevice, outgoingDevice } = message;
  const isOurPrefix = (prefix: Prefix | undefined) => prefix !== undefined && isInside(prefix, ownedNetworks);
  const isOurDevice = (device: string | undefined) => device !== undefined && ownDevices.has(device);
  return isOurPrefix(from) || isOurPrefix(to) || isOurDevice(incomingDevice) || isOurDevice(outgoingDevice);
}

function deviationOf({ action, message }: Change<"rule">, watch: Watch): Deviation | undefined {
  if (!isOurs(message, watch.host)) return undefined;
  const slot = watch.host.slots.get(ruleKind, ruleKey(message));
  const isKnown = slot?.observed !== undefined;
  return isKnown === (action === "new") || watch.isResting(slot) ? undefined : lookAt(ruleKind);
}
