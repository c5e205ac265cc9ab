// Writes scratch files as upstream's CNI plugin does, for the way back to it.
import { dirname } from "node:path";
import { ensureDirectory, writeFileAtomically } from "../sys/files.ts";
import { type ContainerNetwork, missingScratchFiles } from "./container-network.ts";

/** How many there were to write. Throws `FILE_FAILED` and Node's errors. */
export async function writeMissingScratchFiles(
  network: ContainerNetwork,
  configuration: string,
  interfaces: ReadonlySet<string>,
): Promise<number> {
  const missing = missingScratchFiles(network, configuration, interfaces);
  for (const { path, text } of missing) {
    ensureDirectory(dirname(path), 0o700);
    await writeFileAtomically(path, text, 0o600);
  }
  return missing.length;
}
