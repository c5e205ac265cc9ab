// What the tests of all cloud providers need of a stand-in: a route table, other hosts, and faults. The stand-ins are
// written from the providers' public API documents; they are not the providers, and no real cloud was used.
import type { CloudRoutes } from "../../src/cloud/cloud-routes.ts";

/** What meets a request, in the provider's own form. */
export type CloudFault = "throttled" | "failing" | "denied" | "expired" | "full";

export interface ProviderWorld extends AsyncDisposable {
  readonly provider: string;
  /** This host and others, as next hops. */
  readonly hosts: readonly [me: string, other: string];
  readonly table: string;
  /** Of the same network, of no subnet; undefined where hosts have no route tables by names. */
  readonly secondTable?: string;
  /** Names of the requests so far, as the provider calls them. */
  readonly requests: string[];
  /** That read the table; that write to it. */
  readonly names: { readonly list: string; readonly create: string };
  /** Asked for each request to the API. */
  fault: (request: string) => CloudFault | undefined;
  /** While true, lists show the table as it was when it became true. */
  isBehind: boolean;
  /** What `denied` is about, as the provider's permissions name it. */
  permissionOf(request: string): string;
  /** Variables by which the provider is reached. */
  environment(): Readonly<Record<string, string>>;
  /** The adapter, as the backend opens it; with tables that the configuration names. */
  open(tables?: readonly string[]): CloudRoutes;
  /** Next hops by destination; only those that lead to a host. */
  routes(table?: string): Readonly<Record<string, string>>;
  add(destination: string, host: string, state?: "gone"): void;
  delete(destination: string): void;
  /** Secrets in force, which nothing may show. */
  secrets(): readonly string[];
  readonly keys: RoleKeys;
  /** Of the last request. */
  readonly usedKey: number;
  /** The metadata service: away at first. */
  startMetadata(): Promise<void>;
  stopMetadata(): Promise<void>;
}

const FAR_MS = Date.parse("2099-01-01T00:00:00Z");
/** A request may be under way when its key ends. */
const GRACE_MS = 30_000;

/** The keys of a role, which the provider hands out one after the other. */
export class RoleKeys {
  #number = 1;
  #endsAtMs = FAR_MS;
  /** The one before is accepted until then. */
  #lastUntilMs = 0;

  /** Of the one that is handed out. */
  get number(): number {
    return this.#number;
  }

  get endsAtMs(): number {
    return this.#endsAtMs;
  }

  /** The one before is not accepted any more. */
  replace(lifeMs?: number): void {
    this.#turn(lifeMs === undefined ? FAR_MS : Date.now() + lifeMs, 0);
  }

  /** The one before is accepted until it ends. */
  handOutNext(): void {
    this.#turn(FAR_MS, this.#endsAtMs + GRACE_MS);
  }

  isAccepted(number: number): boolean {
    return number === this.#number || (number === this.#number - 1 && Date.now() < this.#lastUntilMs);
  }

  #turn(endsAtMs: number, lastUntilMs: number): void {
    this.#number++;
    [this.#endsAtMs, this.#lastUntilMs] = [endsAtMs, lastUntilMs];
  }
}
