// What the kinds share in programming: requests in batches, one after another, and how the kernel's errors are judged.
import { asFlannelError, type FlannelError, hasCode } from "../../errors.ts";
import type { NetlinkRequest } from "../../netlink/request.ts";
import { hasErrno } from "../../sys/errno.ts";
import type { Host, Operation, ProgramFailure, Slot } from "./kind.ts";

type Program<D, O> = (
  operations: readonly Operation<D, O>[],
  host: Host,
  signal: AbortSignal,
) => Promise<ProgramFailure[]>;

export interface BatchRequests<D, O> {
  /** Adds, or replaces in place. Throws when it cannot be asked for (its device does not exist). */
  write(desired: D, host: Host): NetlinkRequest;
  remove(observed: O, host: Host): NetlinkRequest;
  /** What is found once it is written. */
  settled(desired: D): O;
  /** `KERNEL_EXISTS` in answer to a write is success. */
  readonly mayExist?: true;
}

/** For kinds of which one request writes or removes one object. */
export function inBatches<D, O>(requests: BatchRequests<D, O>): Program<D, O> {
  return async (operations, host, signal) => {
    const failures: ProgramFailure[] = [];
    const attempts: { slot: Slot<D, O>; request: NetlinkRequest; before: O | undefined }[] = [];
    for (const { slot } of operations) {
      try {
        const request = requestFor(slot, requests, host);
        if (request === undefined) continue;
        attempts.push({ slot, request, before: slot.observed });
      } catch (error) {
        failures.push({ slot, error: asFlannelError(error) });
        continue;
      }
      // Set before the kernel is asked, so that the notification of our own change finds it as it says.
      slot.observed = slot.desired === undefined ? undefined : requests.settled(slot.desired);
    }
    const results = await host.netlink.apply(
      attempts.map(({ request }) => request),
      signal,
    );
    const refused = refusedOf(attempts, results).filter(({ slot, error }) => !isAsDesired(slot, error, requests));
    for (const { slot, before } of refused) slot.observed = before;
    return [...failures, ...refused.map(({ slot, error }) => ({ slot, error }))];
  };
}

/** `errors` are in the order of the attempts. */
function refusedOf<A>(
  attempts: readonly A[],
  errors: readonly (FlannelError | undefined)[],
): (A & { readonly error: FlannelError })[] {
  return attempts.flatMap((attempt, index) => {
    const error = errors[index];
    return error === undefined ? [] : [{ ...attempt, error }];
  });
}

/** Whether the refusal says that the object is, or is gone, as it should be. */
function isAsDesired<D, O>({ desired }: Slot<D, O>, error: FlannelError, { mayExist }: BatchRequests<D, O>): boolean {
  if (desired === undefined) return isAlreadyGone(error);
  return mayExist === true && hasCode(error, "KERNEL_EXISTS");
}

function requestFor<D, O>(
  { desired, observed }: Slot<D, O>,
  requests: BatchRequests<D, O>,
  host: Host,
): NetlinkRequest | undefined {
  if (desired !== undefined) return requests.write(desired, host);
  return observed === undefined ? undefined : requests.remove(observed, host);
}

/** For kinds of which one object takes more than one request; `one` throws what failed. */
export function oneByOne<D, O>(
  one: (operation: Operation<D, O>, host: Host, signal: AbortSignal) => Promise<void> | void,
): Program<D, O> {
  return async (operations, host, signal) => {
    const failures: ProgramFailure[] = [];
    for (const operation of operations) {
      try {
        await one(operation, host, signal);
      } catch (error) {
        failures.push({ slot: operation.slot, error: asFlannelError(error) });
      }
    }
    return failures;
  };
}

/** True for the kernel's ways of saying that what was to be deleted is not there. */
export function isAlreadyGone(error: FlannelError): boolean {
  return hasCode(error, "KERNEL_NOT_FOUND") || hasErrno(error, "EADDRNOTAVAIL");
}
