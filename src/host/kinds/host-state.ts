// What we want the host to look like: plain comparable data, devices by name (an index changes when a device is
// re-created). Planners write the kinds that they need; what is missing is empty.
import type { Kind } from "./kind.ts";
import { type Desired, type HostKind, hostKinds } from "./kinds.ts";

export type HostState = { readonly [K in HostKind]?: readonly Desired<K>[] };

export const emptyHostState: HostState = {};

/** What is wanted of one kind. */
export function desiredOf<N extends string, D, O>(state: HostState, kind: Kind<N, D, O>): readonly D[] {
  // By name the compiler only knows a list of some kind; that it is this one's is what HostState says.
  return (state as Readonly<Record<string, readonly D[] | undefined>>)[kind.name] ?? [];
}

/** The device names that the state makes ours. */
function ownDevicesOf(state: HostState): ReadonlySet<string> {
  return new Set((state.link ?? []).map(({ name }) => name));
}

/** Lines as an operator knows them from `ip`, `bridge` and `sysctl`, in the order they are programmed. */
export function hostStateLines(state: HostState): string[] {
  const ownDevices = ownDevicesOf(state);
  return hostKinds.flatMap((kind) => desiredOf(state, kind).map((object) => kind.line(object, ownDevices)));
}
