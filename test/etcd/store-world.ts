// The store that the contract tests of the ports run against, and a way past its adapter. Another adapter is put under
// the same tests by a world of its own.
import type { LeaseAdministration } from "../../src/store/lease-administration.ts";
import type { SubnetStore } from "../../src/store/subnet-store.ts";
import { type ContractServer, startContractServer } from "./contract-server.ts";
import { directory, openAdministration, openStore, prefix, RawClient } from "./fixture.ts";

export interface StoredLease {
  /** Attributes as lease-value.ts writes them. */
  readonly value: string;
  readonly isReservation: boolean;
  /** Text of the revision of the last write. */
  readonly revision: string;
}

export interface StoreWorld extends AsyncDisposable {
  /** One host's view; `ttlSeconds` is the life of an unrenewed lease, 86,400 if not given. */
  open(options?: { readonly ttlSeconds?: number }): Promise<SubnetStore>;
  administer(): Promise<LeaseAdministration>;
  /** Writes leases without expiry past all rules, all at one revision: lease key → value, which may be garbage. */
  write(values: Readonly<Record<string, string>>): Promise<void>;
  remove(key: string): Promise<void>;
  read(key: string): Promise<StoredLease | undefined>;
  removeConfig(): Promise<void>;
  /** Takes everything away. */
  clear(): Promise<void>;
  /** How many lives of leases the store keeps time for, of all that was ever granted. */
  grants(): Promise<number>;
}

/** An etcd or an embedded store, as the test project says. */
export class EtcdWorld implements StoreWorld {
  readonly server: ContractServer;
  readonly raw: RawClient;

  private constructor(server: ContractServer, raw: RawClient) {
    this.server = server;
    this.raw = raw;
  }

  static async start(): Promise<EtcdWorld> {
    const server = await startContractServer();
    return new EtcdWorld(server, await RawClient.open(server.endpoints));
  }

  open(options: { readonly ttlSeconds?: number } = {}): Promise<SubnetStore> {
    return openStore(this.server.endpoints, options);
  }

  administer(): Promise<LeaseAdministration> {
    return openAdministration(this.server.endpoints);
  }

  async write(values: Readonly<Record<string, string>>): Promise<void> {
    await this.raw.put(Object.fromEntries(Object.entries(values).map(([key, value]) => [directory + key, value])));
  }

  async remove(key: string): Promise<void> {
    await this.raw.delete(directory + key);
  }

  async read(key: string): Promise<StoredLease | undefined> {
    const found = await this.raw.get(directory + key);
    return found && { value: found.value, isReservation: found.lease === 0n, revision: String(found.revision) };
  }

  async removeConfig(): Promise<void> {
    await this.raw.delete(`${prefix}/config`);
  }

  async clear(): Promise<void> {
    await this.server.control("del", "--prefix", "/");
  }

  async grants(): Promise<number> {
    return (await this.server.control("lease", "list")).trim().split("\n").length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.raw[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

export function startStoreWorld(): Promise<StoreWorld> {
  return EtcdWorld.start();
}
