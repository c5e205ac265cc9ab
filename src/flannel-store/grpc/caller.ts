// Who makes a call, as far as the server tells callers apart.

export type Caller =
  /** The store asks nobody who they are. */
  | { readonly kind: "anybody" }
  | { readonly kind: "user"; readonly name: string }
  | HostCaller
  | { readonly kind: "administrator" };

/** A member of the cluster, by its key. */
export interface HostCaller {
  readonly kind: "host";
  readonly name: string;
  readonly keyPin: string;
  /** By which others reach it, as far as this call tells: where it comes from. */
  readonly addresses: readonly string[];
}

/** What the limits of one caller are counted by; undefined: by connection, since nothing else is known. */
export function callerKey(caller: Caller): string | undefined {
  if (caller.kind === "anybody") return undefined;
  return caller.kind === "administrator" ? caller.kind : `${caller.kind} ${caller.name}`;
}
