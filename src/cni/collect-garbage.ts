// What containers that are gone have left behind, by the answer of the container runtime. Never a guess: an address that is freed
// while its container lives is given to a second one.
import { type Attachment, attachmentKey, readAttachments } from "./attachments.ts";
import { attachmentOf, type ContainerNetwork, isSurelyGone, type PresentHost } from "./container-network.ts";
import { freeReservations, type Reservation, readReservations, removeFile } from "./reservations.ts";
import { readScratchFiles, type ScratchFile } from "./scratch-files.ts";

/** A runtime lists a sandbox only when its network is complete: what is younger may be of one that is being made. */
export const MIN_AGE_MS = 10 * 60_000;

export interface KeptReservation {
  readonly reservation: Reservation;
  readonly reason: string;
}

export interface Garbage {
  readonly reservations: readonly Reservation[];
  /** Unknown to the runtime, and left all the same. */
  readonly kept: readonly KeptReservation[];
  readonly scratchFiles: readonly ScratchFile[];
  readonly attachments: readonly Attachment[];
}

export interface GarbageLook {
  readonly network: ContainerNetwork;
  readonly host: Pick<PresentHost, "interfaces">;
  readonly nowMs: number;
  /** Asked after everything has been read: what it does not know by then was not being made before. */
  readonly sandboxes: () => Promise<ReadonlySet<string>>;
}

export async function findGarbage({ network, host, nowMs, sandboxes }: GarbageLook): Promise<Garbage> {
  const reservations = readReservations(network.reservations);
  const attachments = readAttachments(network.stateDirectory, network.name);
  const scratchFiles = readScratchFiles(network.scratch).filter(({ networkName }) => networkName === network.name);
  const alive = await sandboxes();
  const unknown = reservations.filter(({ containerId }) => !alive.has(containerId));
  const kept: KeptReservation[] = [];
  const gone = unknown.filter((reservation) => {
    const reason = reasonToKeep(reservation, attachmentOf(reservation, attachments), host.interfaces, nowMs);
    if (reason !== undefined) kept.push({ reservation, reason });
    return reason === undefined;
  });
  const freed = new Set(gone.map(({ containerId }) => containerId));
  const inUse = new Set(reservations.filter((each) => !gone.includes(each)).map(({ containerId }) => containerId));
  const isIdle = (containerId: string, sinceMs: number) =>
    !alive.has(containerId) && !inUse.has(containerId) && (freed.has(containerId) || nowMs - sinceMs >= MIN_AGE_MS);
  return {
    reservations: gone,
    kept,
    scratchFiles: scratchFiles.filter(
      ({ containerId, ipamType, writtenAtMs }) => ipamType === "host-local" && isIdle(containerId, writtenAtMs),
    ),
    attachments: gone.flatMap((reservation) => attachmentOf(reservation, attachments) ?? []),
  };
}

function reasonToKeep(
  { containerId, reservedAtMs }: Reservation,
  attachment: Attachment | undefined,
  interfaces: ReadonlySet<string>,
  nowMs: number,
): string | undefined {
  if (!isSandboxId(containerId)) {
    return `its container ${containerId} was not made by a runtime for pods: ask who made it (ctr, nerdctl, podman)`;
  }
  const ageMs = nowMs - reservedAtMs;
  if (ageMs < MIN_AGE_MS) {
    return ageMs < 0 ? "it was made in the future: is the clock right?" : "it is younger than 10 minutes";
  }
  if (attachment !== undefined && attachment.hostInterfaces.length > 0 && !isSurelyGone(attachment, interfaces)) {
    return `the host's end of its interface is still there: ${attachment.hostInterfaces.join(" ")}`;
  }
  return undefined;
}

/** containerd and CRI-O name sandboxes so; `ctr` and nerdctl, which do not answer for theirs, mostly otherwise. */
function isSandboxId(containerId: string): boolean {
  return /^[0-9a-f]{64}$/.test(containerId);
}

/** Frees and removes it; returns what was freed. Throws `FILE_FAILED` and Node's errors. */
export async function collect(network: ContainerNetwork, garbage: Garbage): Promise<Reservation[]> {
  const freed = await freeReservations(network.reservations, garbage.reservations);
  const keys = new Set(freed.map(({ containerId, interfaceName }) => attachmentKey(containerId, interfaceName)));
  for (const { containerId, interfaceName, file } of garbage.attachments) {
    if (keys.has(attachmentKey(containerId, interfaceName))) removeFile(file);
  }
  for (const { file } of garbage.scratchFiles) removeFile(file);
  return freed;
}
