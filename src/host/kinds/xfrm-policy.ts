// IPsec policies of the kernel between subnets of our networks. Those of other programs are left alone. The kernel's
// notifications of them are not followed: they are listed twice a second, while some are wanted.
import { changePolicies, type PolicyChange, readPolicies } from "../../netlink/xfrm/xfrm-control.ts";
import type { XfrmPolicy } from "../../netlink/xfrm/xfrm-policy.ts";
import type { Host, Kind, ProgramFailure, Slot } from "./kind.ts";
import { isAlreadyGone } from "./programming.ts";
import {
  type HostXfrmPolicy,
  isFlannelPolicy,
  isSamePolicy,
  policyOf,
  xfrmPolicyKey,
  xfrmPolicyLine,
} from "./xfrm-policy-form.ts";

/** Upstream gives all its policies and security associations this one. */
const REQUEST_ID = 11;

export const xfrmPolicyKind: Kind<"xfrmPolicy", HostXfrmPolicy, XfrmPolicy> = {
  name: "xfrmPolicy",
  key: xfrmPolicyKey,
  observedKey: xfrmPolicyKey,
  compare: (desired, observed) => (isSamePolicy(policyOf(desired), observed) ? "same" : "replace"),
  line: (desired) => xfrmPolicyLine(policyOf(desired)),
  observedLine: xfrmPolicyLine,
  source: { look: readOurs },
  notices: {},
  hasDeviated,
  auditRound: 1,
  program: (operations) => Promise.resolve(program(operations.map(({ slot }) => slot))),
};

type PolicySlot = Slot<HostXfrmPolicy, XfrmPolicy>;

/** Ours, and whatever stands in the place of one that is wanted. */
async function readOurs({ ownership, slots }: Host): Promise<XfrmPolicy[]> {
  const found = await readPolicies();
  return found.filter(
    (policy) =>
      isFlannelPolicy(policy, REQUEST_ID, ownership.ownedNetworks) ||
      (!policy.isNarrower && slots.get(xfrmPolicyKind, xfrmPolicyKey(policy))?.desired !== undefined),
  );
}

async function hasDeviated(host: Host): Promise<boolean> {
  const found = new Map((await readOurs(host)).map((policy) => [xfrmPolicyKey(policy), policy]));
  for (const slot of host.slots.slots(xfrmPolicyKind)) {
    const { desired, observed, key } = slot;
    const now = found.get(key);
    found.delete(key);
    if (observed === undefined ? now !== undefined : now === undefined) return true;
    if (desired !== undefined && now !== undefined && !isSamePolicy(policyOf(desired), now)) return true;
  }
  return found.size > 0;
}

function program(slots: readonly PolicySlot[]): ProgramFailure[] {
  const changes: { readonly slot: PolicySlot; readonly change: PolicyChange }[] = [];
  for (const slot of slots) {
    const { desired, observed } = slot;
    if (desired !== undefined) changes.push({ slot, change: { set: policyOf(desired) } });
    else if (observed !== undefined) changes.push({ slot, change: { remove: observed } });
  }
  const results = changePolicies(
    changes.map(({ change }) => change),
    (selector) => `IPsec policy ${xfrmPolicyKey(selector)}`,
  );
  return changes.flatMap(({ slot, change }, index) => {
    const error = results[index];
    if (error !== undefined && !("remove" in change && isAlreadyGone(error))) return [{ slot, error }];
    slot.observed = "set" in change ? change.set : undefined;
    return [];
  });
}
