// Tells an engine that this host or kernel does not have from one that cannot be read. Pure.
import { describeError, hasCode } from "../errors.ts";

/** Only then is it sure that no rules of ours are there. */
export function isAbsentEngine(error: unknown): boolean {
  return hasCode(error, "TOOL_MISSING") || /(protocol|address family) not supported/i.test(describeError(error));
}
