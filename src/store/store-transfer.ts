// What moves from one store to another of the same kind, and is kept as a copy. Stores with etcd's API have it.

/** All bytes are latin1 text, so that JSON keeps them exactly. */
export interface ExportedKey {
  readonly key: string;
  readonly value: string;
  /** Missing: the key never expires. */
  readonly lease?: string;
}

export interface ExportedStore {
  readonly revision: string;
  readonly leases: readonly { readonly id: string; readonly ttlSeconds: number }[];
  readonly keys: readonly ExportedKey[];
}

export interface StoreTransfer {
  /** All keys of the network begin with it. */
  readonly root: string;
  /**
   * All keys of the network as they were at one revision. Rejects with `CONFIG_MISSING` when there is nothing: a wrong
   * prefix or store must not pass for a backup.
   */
  exportKeys(signal: AbortSignal): Promise<ExportedStore>;
  /**
   * Writes what is not there yet; may be repeated after an interruption. Rejects with `CONFIG_CONFLICT`, having written
   * nothing, when a key is there with another value; with `keepsLeases` another host's lease for a subnet stays. Resolves
   * with the keys of those.
   */
  importKeys(
    exported: ExportedStore,
    options: { readonly keepsLeases: boolean },
    signal: AbortSignal,
  ): Promise<readonly string[]>;
}
