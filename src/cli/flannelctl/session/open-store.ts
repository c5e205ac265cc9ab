// Opens the store for one command. Loaded late: its client takes longer to load than everything else together.
import { FlannelError, hasCode } from "../../../errors.ts";
import type { LeaseAdministration } from "../../../store/lease-administration.ts";
import type { StoreOptions } from "../../../store/store-options.ts";
import { type GlobalOptions, type Invocation, remark } from "./invocation.ts";

/** The store that the flags name. */
export function storeOptions({ etcd, kubernetes }: Pick<GlobalOptions, "etcd" | "kubernetes">): StoreOptions {
  if (kubernetes !== undefined) return { type: "kubernetes", ...kubernetes };
  const { endpoints, prefix, username, password, passwordFile, ...tls } = etcd;
  return { type: "etcd", endpoints, prefix, username, password, passwordFile, tls };
}

/** Throws `USAGE` when the connection flags contradict each other or name files that cannot be used. */
export async function withStore<T>(
  invocation: Invocation,
  use: (store: LeaseAdministration) => Promise<T>,
): Promise<T> {
  await using store = await open(invocation);
  for (const warning of store.warnings) remark(invocation, `warning: ${warning}`);
  return await use(store);
}

async function open({ options, terminal }: Invocation): Promise<LeaseAdministration> {
  try {
    const { openAdministration } = await import("../../../store/open-administration.ts");
    return await openAdministration(storeOptions(options), terminal.env);
  } catch (error) {
    throw hasCode(error, "CONFIG_INVALID") ? new FlannelError("USAGE", error.message, { cause: error.cause }) : error;
  }
}
