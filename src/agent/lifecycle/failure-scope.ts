// Whose kernel object could not be programmed: our own, without which nothing works, or that of a peer. Pure.
import { desiredOf, type HostState } from "../../host/kinds/host-state.ts";
import { type HostKind, hostKinds } from "../../host/kinds/kinds.ts";
import type { SlotFailure } from "../../host/reconcile/reconciler-status.ts";
import type { FailureScope, ScopedFailure } from "./agent-state.ts";

/** They keep harm away and carry nothing. */
const precautions: ReadonlySet<string> = new Set<HostKind>(["sysctl", "blackhole"]);

/** Tells them apart by `ownState`: what is planned without any peer is our own. */
export class FailureScopes {
  readonly #own: ReadonlySet<string>;

  constructor(ownState: HostState) {
    this.#own = new Set(
      hostKinds.flatMap((kind) => desiredOf(ownState, kind).map((object) => `${kind.name} ${kind.key(object)}`)),
    );
  }

  of({ slot }: SlotFailure): FailureScope {
    // Objects that wait for a device, the own one or the external interface: all that goes over it.
    if (slot === undefined) return "own";
    if (!slot.isDesired) return "leftover";
    if (precautions.has(slot.kind.name)) return "precaution";
    return this.#own.has(`${slot.kind.name} ${slot.key}`) ? "own" : "peer";
  }

  describe(failed: SlotFailure): ScopedFailure {
    return { ...failed.failure, scope: this.of(failed), isSetting: failed.slot?.kind.name === "sysctl" };
  }
}
