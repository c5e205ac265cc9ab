// Files in which the vendors' own programs keep access keys, below the home directory.
import { homedir } from "node:os";
import { describeError, FlannelError } from "../errors.ts";
import { isDeniedFile, isMissingFile, readSmallFile } from "../sys/files.ts";

const LONGEST_BYTES = 65_536;

/** Of the user that the agent runs as; under systemd HOME may be missing. */
export function homeIn(env: Readonly<Record<string, string | undefined>>): string {
  return env["HOME"] || homedir();
}

/**
 * Undefined when there is none, and where the agent may not look: our unit hides home directories (`ProtectHome=`).
 * `isNamed`: the user named this file, so it has to be readable. Throws `CLOUD_DENIED` for one that cannot be read.
 */
export function readKeyFile(path: string, isNamed = false): string | undefined {
  try {
    return readSmallFile(path, LONGEST_BYTES);
  } catch (cause) {
    if (isMissingFile(cause) || (!isNamed && isDeniedFile(cause))) return undefined;
    throw unusableKeyFile(path, describeError(cause));
  }
}

/** `why` quotes nothing of the file. */
export function unusableKeyFile(path: string, why: string): FlannelError {
  return new FlannelError(
    "CLOUD_DENIED",
    `cannot take the access key from ${path}: ${why}: correct or remove that file`,
  );
}

/** The fields of a section of an INI file; undefined when it has no such section. */
export function iniSection(text: string, section: string): ReadonlyMap<string, string> | undefined {
  let fields: Map<string, string> | undefined;
  let isWanted = false;
  for (const line of text.split(/\r?\n/).map((each) => each.trim())) {
    const title = /^\[\s*([^\]]*?)\s*\]$/.exec(line)?.[1];
    if (title !== undefined) isWanted = title === section;
    if (isWanted) fields ??= new Map();
    const [, name, value] = /^([^=;#]+?)\s*=\s*(.*)$/.exec(line) ?? [];
    if (isWanted && name !== undefined) fields?.set(name.toLowerCase(), unquoted(value ?? ""));
  }
  return fields;
}

function unquoted(value: string): string {
  return /^(["']).*\1$/.test(value) && value.length > 1 ? value.slice(1, -1) : value;
}
