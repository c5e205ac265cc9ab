// What is known of the store, and of the files and the clock that its connection needs. Types.
import type { OwnRecord } from "../store/lease-administration.ts";

export interface StoreFacts {
  /** `etcd http://…`, for people. */
  readonly description?: string;
  /** In the agent's words; missing when it is connected or there is no agent. */
  readonly agentProblem?: string;
  readonly endpoints: readonly EndpointFacts[];
  readonly certificates: readonly CertificateFact[];
  /** Why the store refused a read: code and words. */
  readonly refusal?: { readonly code: string; readonly message: string };
  /** The same of a write of this host's lease, which was only tried: the read was allowed. */
  readonly writeRefusal?: { readonly code: string; readonly message: string };
  /** Of the network in the store, on a host that has no lease of it: subnets that its configuration allows, and leases. */
  readonly pool?: { readonly size: number; readonly used: number };
  /** How far this host's clock is before the store's. */
  readonly clockAheadSeconds?: number;
  /** A file of flannel's that was changed later than it is now. */
  readonly fileFromFuture?: { readonly path: string; readonly aheadSeconds: number };
  /** The announced public IP of our lease in the store, when it is another host's. */
  readonly takenBy?: string;
  readonly isLeaseGone?: boolean;
  /** Of a Kubernetes cluster: its Node of this host. */
  readonly kubernetes?: OwnRecord;
}

export interface EndpointFacts {
  readonly endpoint: string;
  /** The first stage that failed; missing when all went well. */
  readonly failedStage?: "name" | "connect" | "tls" | "answer";
  readonly reason?: string;
}

export interface CertificateFact {
  readonly path: string;
  /** What is wrong with it, as a clause. */
  readonly problem: string;
  readonly isSoon: boolean;
  readonly isClock: boolean;
}
