// The network of a CNI configuration as this host's disk knows it: who has which address (host-local), which interfaces runtimes
// gave out (libcni), what flannel's plugin keeps (scratch files); and which of it a container that is gone has left behind.
import { join } from "node:path";
import { type Attachment, attachmentKey, readAttachments } from "./attachments.ts";
import { freeReservations, type Reservation, readReservations, removeFile } from "./reservations.ts";
import { readScratchFiles, type ScratchFile, scratchPath, scratchTextOf } from "./scratch-files.ts";

export interface ContainerNetwork {
  /** As in the configuration: `cbr0`. */
  readonly name: string;
  /** Of host-local for this network. */
  readonly reservations: string;
  /** Of flannel's plugin, for all networks. */
  readonly scratch: string;
  /** Of CNI, usually /var/lib/cni. */
  readonly stateDirectory: string;
}

/** `ipamDirectory`: `dataDir` of the configuration's IPAM, if it is set. */
export function containerNetwork(stateDirectory: string, name: string, ipamDirectory?: string): ContainerNetwork {
  return {
    name,
    reservations: join(ipamDirectory ?? join(stateDirectory, "networks"), name),
    scratch: join(stateDirectory, "flannel"),
    stateDirectory,
  };
}

/** Names of networks of which flannel's plugin has attached containers. */
export function networksWithScratchFiles(stateDirectory: string): string[] {
  return [...new Set(readScratchFiles(join(stateDirectory, "flannel")).map(({ networkName }) => networkName))];
}

export interface PresentHost {
  /** Names of all network devices of the host. */
  readonly interfaces: ReadonlySet<string>;
  /** By the wall clock. */
  readonly bootedAtMs: number;
}

/** Boot and clock are known to the second; a wrong guess would give an address twice. */
const BOOT_MARGIN_MS = 5_000;

/**
 * Reservations that no container can have any more: made before this boot, as the file says, and the host's end of the
 * container's interface, as the runtime says, is not there. Either alone could be wrong: the clock may have been set
 * since, a runtime may have forgotten. What one of the two does not know stays.
 */
function reservationsOfEarlierBoots(
  reservations: readonly Reservation[],
  attachments: ReadonlyMap<string, Attachment>,
  { interfaces, bootedAtMs }: PresentHost,
): Reservation[] {
  return reservations.filter((reservation) => {
    if (reservation.reservedAtMs >= bootedAtMs - BOOT_MARGIN_MS) return false;
    return isSurelyGone(attachmentOf(reservation, attachments), interfaces);
  });
}

/** A container whose runtime names no host interface may be alive. */
export function isSurelyGone(attachment: Attachment | undefined, interfaces: ReadonlySet<string>): boolean {
  if (attachment === undefined || attachment.hostInterfaces.length === 0) return false;
  return !attachment.hostInterfaces.some((name) => interfaces.has(name));
}

export function attachmentOf(
  { containerId, interfaceName }: Reservation,
  attachments: ReadonlyMap<string, Attachment>,
): Attachment | undefined {
  return attachments.get(attachmentKey(containerId, interfaceName));
}

/** Frees what earlier boots have left; returns that. Throws `FILE_FAILED` and Node's errors. */
export async function freeEarlierBoots(network: ContainerNetwork, host: PresentHost): Promise<Reservation[]> {
  const reservations = readReservations(network.reservations);
  if (reservations.length === 0) return [];
  const attachments = readAttachments(network.stateDirectory, network.name);
  const outdated = reservationsOfEarlierBoots(reservations, attachments, host);
  const freed = await freeReservations(network.reservations, outdated);
  for (const reservation of freed) {
    const attachment = attachmentOf(reservation, attachments);
    if (attachment !== undefined) removeFile(attachment.file);
  }
  removeIdleScratchFiles(network, host.bootedAtMs - BOOT_MARGIN_MS);
  return freed;
}

/**
 * Scratch files of containers that have no address any more, as of one that upstream's plugin attached and our configuration list
 * detached. Only those written before `beforeMs`: the plugin writes it before the address is reserved.
 */
export function removeIdleScratchFiles(network: ContainerNetwork, beforeMs: number): ScratchFile[] {
  const candidates = readScratchFiles(network.scratch).filter((scratch) => isOf(network, scratch, beforeMs));
  if (candidates.length === 0) return [];
  // Read after them: a container that was attached meanwhile has both.
  const inUse = new Set(readReservations(network.reservations).map(({ containerId }) => containerId));
  const idle = candidates.filter(({ containerId }) => !inUse.has(containerId));
  for (const { file } of idle) removeFile(file);
  return idle;
}

function isOf(network: ContainerNetwork, scratch: ScratchFile, beforeMs: number): boolean {
  const { networkName, ipamType, ipamDirectory, writtenAtMs } = scratch;
  if (networkName !== network.name || ipamType !== "host-local" || writtenAtMs >= beforeMs) return false;
  return ipamDirectory === undefined || join(ipamDirectory, networkName) === network.reservations;
}

export interface MissingScratchFile {
  readonly path: string;
  readonly text: string;
}

/**
 * What upstream's plugin needs to detach each container that was attached without a plugin of flannel's. Containers that are
 * surely gone have none. `configuration`: the list at hand, for what the runtime does not remember.
 */
export function missingScratchFiles(
  network: ContainerNetwork,
  configuration: string,
  interfaces: ReadonlySet<string>,
): MissingScratchFile[] {
  const attachments = readAttachments(network.stateDirectory, network.name);
  const present = new Set(readScratchFiles(network.scratch).map(({ containerId }) => containerId));
  const missing = new Map<string, MissingScratchFile>();
  for (const reservation of readReservations(network.reservations)) {
    const { containerId, interfaceName } = reservation;
    const attachment = attachmentOf(reservation, attachments);
    if (present.has(containerId) || !isPlainName(containerId) || isSurelyGone(attachment, interfaces)) continue;
    const text = scratchTextOf(attachment?.configuration ?? "") ?? scratchTextOf(configuration);
    if (text === undefined) continue;
    // Upstream has one name for all interfaces of a container.
    if (missing.has(containerId) && interfaceName !== "eth0") continue;
    missing.set(containerId, { path: scratchPath(network.scratch, containerId), text });
  }
  return [...missing.values()];
}

/** As the CNI specification has container ids. */
function isPlainName(containerId: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerId);
}
