// Decides whether a notification of the kernel tells of something that is not as we left it.
import type { ObjectKind } from "../../netlink/rtnetlink/messages.ts";
import type { Change, Deviation, Kind, Watch } from "../kinds/kind.ts";
import { hostKinds } from "../kinds/kinds.ts";

/** The kinds of messages that some kind of object wants to see. */
export const noticedObjects: readonly ObjectKind[] = [
  ...new Set(hostKinds.flatMap(({ notices }) => Object.keys(notices) as ObjectKind[])),
];

/** Kinds to which a change of such an object may matter. */
export function concernedBy(object: ObjectKind): readonly Kind[] {
  return concerned.get(object) ?? [];
}

/** Undefined when everything is as the kind knows it, or none of its business. */
export function deviationOf<M extends ObjectKind>(kind: Kind, change: Change<M>, watch: Watch): Deviation | undefined {
  return kind.notices[change.kind]?.(change, watch);
}

const concerned = new Map<ObjectKind, readonly Kind[]>();
for (const object of noticedObjects) {
  concerned.set(
    object,
    hostKinds.filter(({ notices }) => notices[object] !== undefined),
  );
}
