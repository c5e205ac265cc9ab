// Carries out operations on the kernel and keeps the found side of their slots true. One kind at a time, in batches;
// what fails is returned and never stops the rest.
import { type FlannelError, hasCode } from "../../errors.ts";
import type { Device, NetlinkRequest } from "../../netlink/request.ts";
import { addAddress, deleteAddress } from "../../netlink/rtnetlink/address.ts";
import { BLACKHOLE_METRIC, FLANNEL_PROTOCOL } from "../../netlink/rtnetlink/messages.ts";
import { deleteFdbEntry, deleteNeighbour, setFdbEntry, setNeighbour } from "../../netlink/rtnetlink/neighbour.ts";
import { deleteRoute, writeRoute } from "../../netlink/rtnetlink/route.ts";
import { rtn } from "../../netlink/uapi.ts";
import { writeSysctl } from "../../sys/sysctl.ts";
import type { HostOperation } from "./diff.ts";
import type { AnySlot, Slot } from "./host-table.ts";
import { programLink } from "./link-programmer.ts";
import {
  asFlannelError,
  isAlreadyGone,
  missingDevice,
  type ProgramFailure,
  type ProgrammerContext,
} from "./program-context.ts";
import type { RouteProgrammer } from "./route-programmer.ts";

/** `operations` are all of one kind and none is a refusal. */
export async function program(
  operations: readonly HostOperation[],
  context: ProgrammerContext,
  routes: RouteProgrammer,
): Promise<ProgramFailure[]> {
  switch (operations[0]?.slot.kind) {
    case undefined:
      return [];
    case "link":
      return programEach(operations, (operation) => programLink(operation, context));
    case "sysctl":
      return programEach(operations, ({ slot }) => Promise.resolve(programSysctl(slot as Slot<"sysctl">)));
    case "blackhole":
      return programEach(operations, ({ slot }) => programBlackhole(slot as Slot<"blackhole">, context));
    case "route":
      return routes.program(operations);
    default:
      return programOnDevices(operations, context);
  }
}

async function programEach(
  operations: readonly HostOperation[],
  one: (operation: HostOperation) => Promise<void>,
): Promise<ProgramFailure[]> {
  const failures: ProgramFailure[] = [];
  for (const operation of operations) {
    try {
      await one(operation);
    } catch (error) {
      failures.push({ slot: operation.slot, error: asFlannelError(error) });
    }
  }
  return failures;
}

async function programOnDevices(
  operations: readonly HostOperation[],
  { netlink, links, signal }: ProgrammerContext,
): Promise<ProgramFailure[]> {
  const attempts: { slot: AnySlot; request: NetlinkRequest; undo: () => void }[] = [];
  const failures: ProgramFailure[] = [];
  for (const { slot } of operations) {
    const name = deviceNameOf(slot);
    const device = name === undefined ? undefined : links.byName(name);
    const request = device === undefined ? undefined : requestFor(slot, device);
    if (request === undefined) failures.push({ slot, error: missingDevice(name) });
    // Set before the kernel is asked, so that the notification of our own change finds it as it says.
    else attempts.push({ slot, request, undo: settle(slot) });
  }
  const results = await netlink.apply(
    attempts.map((attempt) => attempt.request),
    signal,
  );
  for (const [index, error] of results.entries()) {
    const attempt = attempts[index];
    if (attempt === undefined || error === undefined || isAsWanted(attempt.slot, error)) continue;
    attempt.undo();
    failures.push({ slot: attempt.slot, error });
  }
  return failures;
}

/** Makes the found side equal the wanted one; the result puts it back. */
function settle(slot: AnySlot): () => void {
  switch (slot.kind) {
    case "address":
    case "neighbour":
    case "fdb":
      return settleSame(slot);
    default:
      return () => undefined;
  }
}

function settleSame<K extends "address" | "neighbour" | "fdb">(slot: Slot<K>): () => void {
  const before = slot.observed;
  slot.observed = slot.desired;
  return () => {
    slot.observed = before;
  };
}

/** Deleting what is gone and adding what is there is success. */
function isAsWanted(slot: AnySlot, error: FlannelError): boolean {
  if (slot.desired === undefined) return isAlreadyGone(error);
  return slot.kind === "address" && hasCode(error, "kernel.exists");
}

function programSysctl(slot: Slot<"sysctl">): void {
  const { desired } = slot;
  if (desired === undefined) return;
  writeSysctl(desired.key, desired.value);
  slot.observed = desired;
}

async function programBlackhole(slot: Slot<"blackhole">, { netlink, signal }: ProgrammerContext): Promise<void> {
  const { desired, observed } = slot;
  const destination = (desired ?? observed)?.destination;
  if (destination === undefined) return;
  const route = { destination, type: rtn.blackhole, protocol: FLANNEL_PROTOCOL, metric: BLACKHOLE_METRIC };
  slot.observed = desired;
  const [error] = await netlink.apply([desired === undefined ? deleteRoute(route) : writeRoute("set", route)], signal);
  if (error === undefined || (desired === undefined && isAlreadyGone(error))) return;
  slot.observed = observed;
  throw error;
}

function deviceNameOf(slot: AnySlot): string | undefined {
  if (slot.kind === "link" || slot.kind === "sysctl" || slot.kind === "blackhole") return undefined;
  return slot.desired?.device ?? slot.observed?.device;
}

function requestFor(slot: AnySlot, device: Device): NetlinkRequest | undefined {
  switch (slot.kind) {
    case "address":
      if (slot.desired !== undefined) return addAddress(device, slot.desired.address);
      return slot.observed === undefined ? undefined : deleteAddress(device, slot.observed.address);
    case "neighbour":
      if (slot.desired !== undefined) return setNeighbour(device, slot.desired.address, slot.desired.mac);
      return slot.observed === undefined ? undefined : deleteNeighbour(device, slot.observed.address);
    case "fdb":
      if (slot.desired !== undefined) return setFdbEntry(device, slot.desired.mac, slot.desired.destination);
      return slot.observed === undefined
        ? undefined
        : deleteFdbEntry(device, slot.observed.mac, slot.observed.destination);
    default:
      return undefined;
  }
}
