// Small files of a directory that other programs write: bounded, whatever is in there.
import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { isMissingFile, readSmallFile } from "../sys/files.ts";

/** A host has some hundred containers. */
const MAX_FILES = 50_000;

export interface FoundFile {
  readonly name: string;
  readonly path: string;
  readonly text: string;
  /** When its content was written, by the wall clock of that moment. */
  readonly modifiedAtMs: number;
}

/**
 * Regular files whose names are wanted, up to `maxBytes` each; larger ones are left out, as are those that go meanwhile. Empty
 * without the directory. Throws Node's error when it or a file in it cannot be read: what is in it is unknown then.
 */
export function readSmallFiles(
  directory: string,
  maxBytes: number,
  isWanted: (name: string) => boolean = () => true,
): FoundFile[] {
  return namesIn(directory)
    .filter(isWanted)
    .slice(0, MAX_FILES)
    .flatMap((name) => {
      const path = join(directory, name);
      try {
        const found = lstatSync(path);
        if (!found.isFile() || found.size > maxBytes) return [];
        return [{ name, path, text: readSmallFile(path, maxBytes), modifiedAtMs: found.mtimeMs }];
      } catch (error) {
        if (isMissingFile(error)) return [];
        throw error;
      }
    });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isMissingFile(error)) return [];
    throw error;
  }
}
