// What kinds share whose objects stand on devices of ours: they are listed device by device.
import type { ObjectKind, ObjectKinds } from "../../netlink/rtnetlink/messages.ts";
import type { Host, Kind, Listed } from "./kind.ts";
import { ownDeviceName } from "./links.ts";

/** Only routes are judged by whose device they are on. */
const noDevices: ReadonlySet<string> = new Set();

/** `kind` is asked for late, since it is under construction when this is called. */
export function onOwnDevices<T, M extends ObjectKind>(
  objects: M,
  observe: (message: ObjectKinds[M], host: Host) => T | undefined,
  kind: () => Kind<string, T, T>,
): Listed<T, M> {
  return {
    listing: { objects, filters: (host) => ownIndexes(host).map((index) => ({ index })) },
    open: (host) => ({
      read: (message) => {
        const object = observe(message, host);
        return object === undefined ? undefined : wantedIfEqual(object, kind(), host);
      },
    }),
  };
}

function ownIndexes({ links, ownership }: Host): number[] {
  const own: number[] = [];
  for (const { index } of links.all()) if (ownDeviceName(index, links, ownership) !== undefined) own.push(index);
  return own;
}

/** Keeps one object in memory instead of two equal ones. */
function wantedIfEqual<T>(object: T, kind: Kind<string, T, T>, { slots }: Host): T {
  const desired = slots.get(kind, kind.observedKey(object))?.desired;
  return desired !== undefined && kind.compare(desired, object, noDevices) === "same" ? desired : object;
}
