// Reads subnet.env back: the subnets that an earlier run leased.
import { describeError } from "../../errors.ts";
import type { LeasedSubnets } from "../../lease/lease.ts";
import { parseSubnetEnv } from "../../lease/subnet-env.ts";
import { isMissingFile, readSmallFile } from "../../sys/files.ts";

/** Ours has about 150 bytes. */
const MAX_SUBNET_FILE_BYTES = 64 * 1024;

/** The subnets of an earlier run; empty when there is no file. What cannot be read is reported to `onWarning`. */
export function readSubnetFile(path: string, onWarning: (message: string) => void): LeasedSubnets {
  let text: string;
  try {
    text = readSmallFile(path, MAX_SUBNET_FILE_BYTES);
  } catch (error) {
    if (!isMissingFile(error)) onWarning(`cannot read the subnet file ${path}: ${describeError(error)}`);
    return {};
  }
  const { subnets, warnings } = parseSubnetEnv(text);
  for (const warning of warnings) onWarning(`${path}: ${warning}`);
  return subnets;
}
