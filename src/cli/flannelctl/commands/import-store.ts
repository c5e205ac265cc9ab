// `flannelctl store import`: writes an export, or a network out of etcd's v2 API, into the store.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parseConfig } from "../../../backend/registry.ts";
import { describeError, FlannelError, hasCode } from "../../../errors.ts";
import { type KeySpace, keySpaceOf } from "../../../etcd-api/key-space.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";
import { incompatibility } from "../../../lease/allocator.ts";
import { tryParseLeaseKey } from "../../../lease/lease-key.ts";
import { type EtcdV2Options, readEtcdV2, type V2Network } from "../../../store/read-etcd-v2.ts";
import type { ExportedStore, StoreTransfer } from "../../../store/store-transfer.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { storeExportOutputSchema, storeImportOutputSchema } from "../session/json-output.ts";
import { describeExport, refuseKubernetes, withTransfer } from "./store.ts";

export interface ImportOptions {
  readonly keepLeases: boolean;
  readonly dryRun: boolean;
  readonly etcdV2Endpoints?: string;
  readonly etcdV2Prefix?: string;
  readonly etcdV2Cafile?: string;
  readonly etcdV2Certfile?: string;
  readonly etcdV2Keyfile?: string;
  readonly etcdV2Username?: string;
  readonly etcdV2PasswordFile?: string;
}

type Skipped = V2Network["skipped"];

/** What is to be in the store, and what was left out of it. */
interface Source {
  readonly exported: ExportedStore;
  /** Of etcd v2 alone. */
  readonly skipped?: Skipped;
}

type Output = ReturnType<typeof storeImportOutputSchema.parse>;

/** What is there with the same value stays, so that it may be repeated. */
export async function importStore(
  invocation: Invocation,
  file: string | undefined,
  given: ImportOptions,
): Promise<ExitCode> {
  refuseKubernetes(invocation); // whatever the source holds
  const { exported, skipped } = await readSource(invocation, file, given);
  const output = await withTransfer(invocation, async (transfer): Promise<Output> => {
    if (skipped === undefined) refuseForeign(exported, transfer.root, file ?? "the export");
    const counts = {
      ...{ keyCount: exported.keys.length, leaseCount: exported.leases.length },
      ...(skipped !== undefined && { skipped: [...skipped] }),
    };
    if (given.dryRun)
      return { ...counts, keptLeases: [], dryRun: await compare(exported, transfer, invocation.signal) };
    const kept = await transfer.importKeys(exported, { keepsLeases: given.keepLeases }, invocation.signal);
    return { ...counts, keptLeases: [...kept] };
  });
  present(invocation, storeImportOutputSchema, output, render);
  return (output.dryRun?.conflicts.length ?? 0) > 0 && !given.keepLeases ? exitCodes.failure : exitCodes.ok;
}

function render({ keyCount, leaseCount, keptLeases, skipped = [], dryRun }: Output): string[] {
  const left = skipped.map(({ key, reason }) => `left out ${key}: ${reason}`);
  if (dryRun !== undefined) {
    const { newKeys, conflicts } = dryRun;
    return [
      ...left,
      ...conflicts.map((key) => `the store has another value at ${key}`),
      ...newKeys.map((key) => `would write ${key}`),
      `nothing was written: ${newKeys.length} of ${describeExport({ keyCount, leaseCount })} are new`,
    ];
  }
  return [
    ...left,
    ...keptLeases.map((key) => `kept the store's own lease at ${key}`),
    `imported ${describeExport({ keyCount: keyCount - keptLeases.length, leaseCount })}`,
  ];
}

async function readSource(invocation: Invocation, file: string | undefined, given: ImportOptions): Promise<Source> {
  const { etcdV2Endpoints: endpoints } = given;
  if ((file === undefined) === (endpoints === undefined)) {
    throw new FlannelError("USAGE", "give either a file or --etcd-v2-endpoints");
  }
  if (file !== undefined) {
    refuseV2Options(given);
    return { exported: await readDocument(invocation, file) };
  }
  const { prefix } = invocation.options.etcd;
  const options: EtcdV2Options = {
    endpoints: endpoints ?? "",
    prefix: given.etcdV2Prefix ?? prefix,
    ...(given.etcdV2Cafile !== undefined && { caFile: given.etcdV2Cafile }),
    ...(given.etcdV2Certfile !== undefined && { certFile: given.etcdV2Certfile }),
    ...(given.etcdV2Keyfile !== undefined && { keyFile: given.etcdV2Keyfile }),
    ...(given.etcdV2Username !== undefined && { username: given.etcdV2Username }),
    ...(given.etcdV2PasswordFile !== undefined && { passwordFile: given.etcdV2PasswordFile }),
  };
  try {
    return exportOf(await readEtcdV2(options, invocation.signal), keySpaceOf(prefix));
  } catch (error) {
    if (hasCode(error, "CONFIG_INVALID") && error.details["key"] === undefined)
      throw new FlannelError("USAGE", error.message);
    throw error;
  }
}

function refuseV2Options(given: ImportOptions): void {
  const surplus = Object.keys(given).find((name) => name.startsWith("etcdV2"));
  if (surplus === undefined) return;
  const flag = surplus.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace("etcd-v2", "--etcd-v2");
  throw new FlannelError("USAGE", `${flag} needs --etcd-v2-endpoints`);
}

/**
 * The network as keys of etcd v3. Nothing of it is written that agents could not read: throws `CONFIG_INVALID` for its
 * configuration, and leaves leases out.
 */
function exportOf({ configText, leases, skipped }: V2Network, space: KeySpace): Required<Source> {
  const { config } = parseConfig(configText);
  const left = [...skipped];
  const usable = leases.filter(({ name }) => {
    const subnets = tryParseLeaseKey(name);
    const reason = subnets === undefined ? "is not the name of a subnet" : incompatibility(subnets, config);
    if (reason !== undefined) left.push({ key: name, reason });
    return reason === undefined;
  });
  const entries = usable.map(({ name, value, ttlSeconds }) => {
    const key = latin1(space.directory + name);
    return { key, value: latin1(value), ...(ttlSeconds !== undefined && { lease: leaseId(key, value), ttlSeconds }) };
  });
  const keys = entries.map(({ ttlSeconds: _, ...entry }) => entry);
  return {
    exported: {
      revision: "0",
      keys: [{ key: latin1(space.config), value: latin1(configText) }, ...keys],
      leases: entries.flatMap(({ lease, ttlSeconds }) =>
        lease === undefined || ttlSeconds === undefined ? [] : [{ id: lease, ttlSeconds }],
      ),
    },
    skipped: left,
  };
}

/** The same each time, so that an import that is repeated goes on with what the last one granted. Positive, 63 bits. */
function leaseId(key: string, value: string): string {
  const digest = createHash("sha256").update(`${key}\n${value}`).digest();
  return String(BigInt.asUintN(62, digest.readBigUInt64BE()) + 1n);
}

function latin1(text: string): string {
  return Buffer.from(text).toString("latin1");
}

async function compare(
  exported: ExportedStore,
  transfer: StoreTransfer,
  signal: AbortSignal,
): Promise<NonNullable<Output["dryRun"]>> {
  const present = new Map<string, string>();
  try {
    for (const { key, value } of (await transfer.exportKeys(signal)).keys) present.set(key, value);
  } catch (error) {
    if (!hasCode(error, "CONFIG_MISSING")) throw error; // it is empty
  }
  const shown = (key: string) => Buffer.from(key, "latin1").toString();
  return {
    newKeys: exported.keys.filter(({ key }) => !present.has(key)).map(({ key }) => shown(key)),
    conflicts: exported.keys
      .filter(({ key, value }) => (present.get(key) ?? value) !== value)
      .map(({ key }) => shown(key)),
  };
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
  const latin1Root = latin1(root);
  const foreign = keys.find(({ key }) => !key.startsWith(latin1Root));
  if (foreign === undefined) return;
  throw new FlannelError(
    "CONFIG_INVALID",
    `${file} holds the key ${Buffer.from(foreign.key, "latin1").toString()}, which is not below ${root}: give the right --etcd-prefix`,
  );
}
