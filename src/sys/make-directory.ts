// A directory with its parents. Not Node's `recursive`: where the kernel has no such directory to give (below /proc), that
// tries for ever.
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/** Directories that are missing get `mode`; one that is there stays as it is. Throws Node's error. */
export function makeDirectory(path: string, mode: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  const parent = dirname(path);
  if (parent !== path) makeDirectory(parent, mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    // Another process may have been quicker.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
  }
}
