// Who makes a call, as far as the server tells callers apart.

export type Caller =
  /** The store asks nobody who they are. */
  | { readonly kind: "anybody" }
  | { readonly kind: "user"; readonly name: string }
  /** A member of the cluster, by its key. */
  | { readonly kind: "host"; readonly name: string; readonly keyPin: string }
  | { readonly kind: "administrator" };

/** What the limits of one caller are counted by; undefined: by connection, since nothing else is known. */
export function callerKey(caller: Caller): string | undefined {
  if (caller.kind === "anybody") return undefined;
  return caller.kind === "administrator" ? caller.kind : `${caller.kind} ${caller.name}`;
}
