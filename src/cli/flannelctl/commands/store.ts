// `flannelctl store export` and `backup`: copies of flannel's keys.

import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { describeError, FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import type { ExportedStore, StoreTransfer } from "../../../store/store-transfer.ts";
import { printableJson } from "../../../terminal/foreign-text.ts";
import { count } from "../../../terminal/text.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { STORE_EXPORT_FORMAT, storeBackupOutputSchema } from "../session/json-output.ts";
import { withStore } from "../session/open-store.ts";

/** Prints the export; with or without `--json` it is JSON. */
export async function exportStore(invocation: Invocation): Promise<ExitCode> {
  invocation.terminal.writeOut(documentText(await readStore(invocation)));
  return exitCodes.ok;
}

/** Writes an export to `file`: whole, synced, for the owner alone. */
export async function backUpStore(invocation: Invocation, file: string): Promise<ExitCode> {
  const exported = await readStore(invocation);
  await writeWhole(file, documentText(exported));
  const output = { keyCount: exported.keys.length, leaseCount: exported.leases.length };
  present(invocation, storeBackupOutputSchema, output, (done) => [`wrote ${describeExport(done)} to ${file}`]);
  return exitCodes.ok;
}

function readStore(invocation: Invocation): Promise<ExportedStore> {
  return withTransfer(invocation, (transfer) => transfer.exportKeys(invocation.signal));
}

function documentText(exported: ExportedStore): string {
  return `${printableJson(JSON.stringify({ format: STORE_EXPORT_FORMAT, ...exported }, undefined, 1))}\n`;
}

/** `3 keys with 2 leases` */
export function describeExport({
  keyCount,
  leaseCount,
}: {
  readonly keyCount: number;
  readonly leaseCount: number;
}): string {
  return `${count(keyCount, "key")} with ${count(leaseCount, "lease")}`;
}

async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}`;
  try {
    await using handle = await open(temporary, "w", 0o600);
    await handle.writeFile(text);
    await handle.sync();
    await rename(temporary, file);
    await using directory = await open(dirname(file), "r");
    await directory.sync();
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new FlannelError("FILE_FAILED", `cannot write ${file}: ${describeError(cause)}`, { cause });
  }
}

/** Throws `USAGE` for a store that has copies of its own. */
export function withTransfer<T>(invocation: Invocation, use: (transfer: StoreTransfer) => Promise<T>): Promise<T> {
  refuseKubernetes(invocation);
  return withStore(invocation, ({ transfer }) => {
    if (transfer !== undefined) return use(transfer);
    throw new FlannelError("USAGE", "flannelctl cannot export or import this kind of store: use the store's own tools");
  });
}

/** Throws `USAGE` where the leases are the Nodes of a cluster. */
export function refuseKubernetes({ options }: Invocation): void {
  if (options.kubernetes === undefined) return;
  throw new FlannelError(
    "USAGE",
    "flannelctl cannot export or import the leases of a Kubernetes cluster: they are its Nodes, whose subnets Kubernetes " +
      "assigns (podCIDR): back up the cluster itself, and change the ConfigMap kube-flannel-cfg with kubectl",
  );
}
