// Addresses in use, as the IPAM plugin host-local keeps them: a file for each address, named by it, with the container and
// its interface (plugins/ipam/host-local/backend/disk of the standard plugins).
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Address, tryParseAddress } from "../ip/address.ts";
import { isMissingFile } from "../sys/files.ts";
import { withSharedLock } from "../sys/shared-lock.ts";
import { type FoundFile, readSmallFiles } from "./small-directory.ts";

export interface Reservation {
  readonly address: Address;
  readonly containerId: string;
  /** In the container. Versions of host-local before 0.8 did not write it: empty then. */
  readonly interfaceName: string;
  readonly reservedAtMs: number;
  readonly file: string;
}

const MAX_RESERVATION_BYTES = 4 * 1024;
/** In a directory, that of host-local's lock. */
const LOCK_NAME = "lock";

/** Of a directory of host-local; see `readSmallFiles` for what it throws. */
export function readReservations(directory: string): Reservation[] {
  const isAddress = (name: string) => tryParseAddress(name) !== undefined;
  return readSmallFiles(directory, MAX_RESERVATION_BYTES, isAddress).flatMap((found) => parse(found) ?? []);
}

function parse({ name, path, text, modifiedAtMs }: FoundFile): Reservation | undefined {
  const address = tryParseAddress(name);
  const [containerId = "", interfaceName = ""] = text.trim().split(/\r?\n/);
  if (address === undefined || containerId === "") return undefined;
  return { address, containerId, interfaceName, reservedAtMs: modifiedAtMs, file: path };
}

/** Those that were freed: a reservation that has become another's meanwhile stays. Throws `FILE_FAILED` and Node's errors. */
export function freeReservations(directory: string, outdated: readonly Reservation[]): Promise<Reservation[]> {
  if (outdated.length === 0) return Promise.resolve([]);
  return withSharedLock(join(directory, LOCK_NAME), () => {
    const present = new Map(readReservations(directory).map((found) => [found.file, found]));
    return outdated.filter((reservation) => {
      const now = present.get(reservation.file);
      const isSame = now?.containerId === reservation.containerId && now.reservedAtMs === reservation.reservedAtMs;
      if (isSame) removeFile(reservation.file);
      return isSame;
    });
  });
}

/** Removed by another is as well. */
export function removeFile(path: string): void {
  try {
    rmSync(path);
  } catch (error) {
    if (!isMissingFile(error)) throw error;
  }
}
