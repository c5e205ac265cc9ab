// Settings under /proc/sys of the network namespace we run in.

import { readFileSync, writeFileSync } from "node:fs";
import { describeError, FlannelError } from "../errors.ts";
import { isMissingFile } from "./files.ts";

/** The value without the line end; undefined when this kernel or device has no such setting. Throws `KERNEL_DENIED`. */
export function readSysctl(key: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${key}`, "utf8").trim();
  } catch (cause) {
    if (isMissingFile(cause)) return undefined;
    throw new FlannelError("KERNEL_DENIED", `read /proc/sys/${key}: ${describeError(cause)}`, { cause });
  }
}

/** A kernel without the setting (IPv6 switched off) needs no value for it: nothing is done. */
export function writeSysctl(key: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/${key}`, `${value}\n`);
  } catch (cause) {
    if (isMissingFile(cause)) return;
    throw new FlannelError("KERNEL_DENIED", `write ${value} to /proc/sys/${key}: ${describeError(cause)}`, { cause });
  }
}
