// How many file descriptors this process has open, and how many it may.
import { readdirSync, readFileSync } from "node:fs";

/** Missing where it cannot be read, or where there is no limit. */
export function openDescriptors(): { readonly open?: number; readonly most?: number } {
  const open = readOpen();
  const most = descriptorLimit();
  return { ...(open !== undefined && { open }), ...(most !== undefined && { most }) };
}

/** The soft limit; undefined when there is none or it cannot be read. */
export function descriptorLimit(): number | undefined {
  try {
    const text = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return text === undefined ? undefined : Number(text);
  } catch {
    return undefined;
  }
}

function readOpen(): number | undefined {
  try {
    // Without the one that reads the list.
    return readdirSync("/proc/self/fd").length - 1;
  } catch {
    return undefined;
  }
}
