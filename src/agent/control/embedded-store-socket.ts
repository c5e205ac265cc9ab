// Where the store of `flanneld --store=embedded` keeps its data and its socket. Pure.
import { join } from "node:path";

export function embeddedStoreDirectory(stateDirectory: string): string {
  return join(stateDirectory, "store");
}

/** Mode 0600, in a directory that only root may enter. */
export function embeddedStoreSocket(stateDirectory: string): string {
  return join(embeddedStoreDirectory(stateDirectory), "flannel-store.sock");
}
