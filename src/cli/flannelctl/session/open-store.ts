// Opens the store for one command. Loaded late: its client takes longer to load than everything else together.
import { accessSync, constants, statSync } from "node:fs";
import { resolve } from "node:path";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { statusSchema } from "../../../agent/control/control-protocol.ts";
import { embeddedStoreSocket } from "../../../agent/control/embedded-store-socket.ts";
import { FlannelError, hasCode } from "../../../errors.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import type { LeaseAdministration } from "../../../store/lease-administration.ts";
import type { StoreOptions } from "../../../store/store-options.ts";
import { isAnswering } from "../../../sys/socket-file.ts";
import { askAgent } from "./control-client.ts";
import { type EtcdFlags, type GlobalOptions, type Invocation, remark } from "./invocation.ts";
import { requireOneNetwork } from "./one-network.ts";

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
  try {
    return await use(store);
  } catch (error) {
    throw hasCode(error, "STORE_UNAVAILABLE") && isHidden(invocation.options) ? asRoot(error) : error;
  }
}

/** As `withStore`, for what is of one network. Throws `USAGE` where this host has several and none is named. */
export async function withNetworkStore<T>(
  invocation: Invocation,
  use: (store: LeaseAdministration) => Promise<T>,
): Promise<T> {
  requireOneNetwork(invocation.options);
  const served = await servedNetworks(invocation);
  if (served.length > 0) {
    const names = served.length > SHOWN_NAMES ? [...served.slice(0, SHOWN_NAMES), "..."] : served;
    const message = `the agent of this host serves several networks: name one with --network (${names.join(", ")})`;
    throw new FlannelError("USAGE", message);
  }
  return await withStore(invocation, use);
}

const SHOWN_NAMES = 8;
/** A living agent answers at once. */
const ANSWER_WITHIN_MS = 2_000;

/** Names of the networks, where an agent that nothing told of serves several below the same prefix. Never rejects. */
async function servedNetworks({ options, signal }: Invocation): Promise<readonly string[]> {
  const { network, kubernetes, etcd, socketPaths } = options;
  if (network !== undefined || kubernetes !== undefined) return [];
  try {
    const request = {
      method: "GET",
      path: controlPaths.status,
      schema: statusSchema,
      timeoutMs: ANSWER_WITHIN_MS,
    } as const;
    const { store, networks } = await askAgent(socketPaths, request, signal);
    const isOfPrefix = store.description
      .replace(/\/+$/, "")
      .endsWith(`networks below ${etcd.prefix.replace(/\/+$/, "")}`);
    return isOfPrefix ? networks.map(({ name }) => name) : [];
  } catch {
    return []; // no agent, or none that can tell
  }
}

/** Whether an agent on this host may keep its store where this user cannot look. */
function isHidden({ stateDirectory, isStoreNamed, kubernetes }: GlobalOptions): boolean {
  if (isStoreNamed || kubernetes !== undefined || process.geteuid?.() === 0) return false;
  try {
    return statSync(embeddedStoreSocket(stateDirectory), { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

function asRoot(cause: FlannelError): FlannelError {
  const message = `${cause.message}; if flanneld keeps the leases itself (--store=embedded), run flannelctl as root`;
  return new FlannelError(cause.code, message, { cause, tellsCause: true });
}

/** On the host that keeps the store of a cluster, root is its administrator: the host's own certificate may not write there. */
function withAdministrator({ etcd, paths }: GlobalOptions): EtcdFlags {
  const { adminCertificate: certFile, adminKey: keyFile } = clusterFiles(paths.clusterDirectory);
  const isMember = etcd.certFile === paths.certFile && etcd.keyFile === paths.keyFile;
  return isMember && [certFile, keyFile].every(isReadable) ? { ...etcd, certFile, keyFile } : etcd;
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where nothing names a store, the one that this host's agent keeps itself is meant, if there is one. */
async function findStore(options: GlobalOptions): Promise<StoreOptions> {
  const { stateDirectory, isStoreNamed, kubernetes, etcd } = options;
  const socket = embeddedStoreSocket(resolve(stateDirectory));
  const isEmbedded = !isStoreNamed && kubernetes === undefined && (await isAnswering(socket));
  if (isEmbedded) return storeOptions({ etcd: { ...etcd, endpoints: `unix://${socket}` } });
  return storeOptions({ ...options, etcd: withAdministrator(options) });
}

async function open({ options, terminal }: Invocation): Promise<LeaseAdministration> {
  try {
    const { openAdministration } = await import("../../../store/open-administration.ts");
    return await openAdministration(await findStore(options), terminal.env);
  } catch (error) {
    throw hasCode(error, "CONFIG_INVALID") ? new FlannelError("USAGE", error.message, { cause: error.cause }) : error;
  }
}
