// Which network this process sees: several may share files, and a service may be moved to another.
import { readlinkSync } from "node:fs";

/** The number in `net:[4026531840]`. */
export function networkNamespace(): string {
  return readlinkSync("/proc/thread-self/ns/net").replaceAll(/\D/g, "");
}
