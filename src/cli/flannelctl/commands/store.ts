// `flannelctl store`: moves flannel's keys between stores, and keeps copies of them.

import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { describeError, FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";
import type { ExportedStore, StoreTransfer } from "../../../store/store-transfer.ts";
import { printableJson } from "../../../terminal/foreign-text.ts";
import { count } from "../../../terminal/text.ts";
import { type Invocation, present } from "../session/invocation.ts";
import {
  STORE_EXPORT_FORMAT,
  storeBackupOutputSchema,
  storeExportOutputSchema,
  storeImportOutputSchema,
} from "../session/json-output.ts";
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
  present(invocation, storeBackupOutputSchema, output, (done) => [`wrote ${describe(done)} to ${file}`]);
  return exitCodes.ok;
}

export interface ImportOptions {
  readonly keepLeases: boolean;
}

/** Writes an export into the store; what is there with the same value stays. */
export async function importStore(
  invocation: Invocation,
  file: string,
  { keepLeases }: ImportOptions,
): Promise<ExitCode> {
  const exported = await readDocument(invocation, file);
  const kept = await withTransfer(invocation, (transfer) => {
    refuseForeign(exported, transfer.root, file);
    return transfer.importKeys(exported, { keepsLeases: keepLeases }, invocation.signal);
  });
  const output = { keyCount: exported.keys.length, leaseCount: exported.leases.length, keptLeases: [...kept] };
  present(invocation, storeImportOutputSchema, output, (done) => [
    ...done.keptLeases.map((key) => `kept the store's own lease at ${key}`),
    `imported ${describe({ ...done, keyCount: done.keyCount - done.keptLeases.length })}`,
  ]);
  return exitCodes.ok;
}

function readStore(invocation: Invocation): Promise<ExportedStore> {
  return withTransfer(invocation, (transfer) => transfer.exportKeys(invocation.signal));
}

function documentText(exported: ExportedStore): string {
  return `${printableJson(JSON.stringify({ format: STORE_EXPORT_FORMAT, ...exported }, undefined, 1))}\n`;
}

function describe({ keyCount, leaseCount }: { readonly keyCount: number; readonly leaseCount: number }): string {
  return `${count(keyCount, "key")} with ${count(leaseCount, "lease")}`;
}

async function readDocument(invocation: Invocation, file: string): Promise<ExportedStore> {
  let text: string;
  try {
    text = file === "-" ? await invocation.terminal.readInput() : await readFile(file, "utf8");
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot read ${file}: ${describeError(cause)}`, { cause });
  }
  const document = storeExportOutputSchema.safeParse(tryParseJson(text));
  if (!document.success) {
    throw new FlannelError("CONFIG_INVALID", `${file} is not an export of flannelctl store export`);
  }
  const keys = document.data.keys.map(({ key, value, lease }) => ({
    key,
    value,
    ...(lease !== undefined && { lease }),
  }));
  return { ...document.data, keys };
}

/** What is not below the root of the network is of another one. */
function refuseForeign({ keys }: ExportedStore, root: string, file: string): void {
  // Keys are bytes as latin1 text.
  const latin1Root = Buffer.from(root).toString("latin1");
  const foreign = keys.find(({ key }) => !key.startsWith(latin1Root));
  if (foreign === undefined) return;
  throw new FlannelError(
    "CONFIG_INVALID",
    `${file} holds the key ${Buffer.from(foreign.key, "latin1").toString()}, which is not below ${root}: give the right --etcd-prefix`,
  );
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

function withTransfer<T>(invocation: Invocation, use: (transfer: StoreTransfer) => Promise<T>): Promise<T> {
  return withStore(invocation, ({ transfer }) => {
    if (transfer !== undefined) return use(transfer);
    throw new FlannelError("USAGE", "flannelctl cannot export or import this kind of store: use the store's own tools");
  });
}
