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
  /** The adapter, as the backend opens it. */
  open(): CloudRoutes;
  /** Next hops by destination; only those that lead to a host. */
  routes(): Readonly<Record<string, string>>;
  add(destination: string, host: string, state?: "gone"): void;
  delete(destination: string): void;
  /** Secrets in force, which nothing may show. */
  secrets(): readonly string[];
  /** The role's key that is in force is replaced by another one, and is not accepted any more. */
  replaceKey(): void;
  /** The metadata service: away at first. */
  startMetadata(): Promise<void>;
}
