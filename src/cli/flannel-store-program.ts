// flannel-store: flags, lock of the data directory, signals, exit code. The store itself is src/flannel-store.
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { describeError, FlannelError, hasCode } from "../errors.ts";
import { exitCodeOfError, exitCodes } from "../exit-codes.ts";
import type { ClusterService } from "../flannel-store/membership/cluster-service.ts";
import type { StoreServer } from "../flannel-store/server/store-server.ts";
import { readUsersFile } from "../flannel-store/server/users-file.ts";
import { endProcess } from "../sys/end-process.ts";
import { FileLock, holderText } from "../sys/file-lock.ts";
import { ensureDirectory } from "../sys/files.ts";
import { keepMemorySmall } from "../sys/memory-trimmer.ts";
import { notifyService } from "../sys/service-notify.ts";
import { writeToStderr, writeToStdout } from "../sys/standard-streams.ts";
import { oneLine } from "../terminal/foreign-text.ts";
import { version } from "../version.ts";
import type { DaemonSignals } from "./daemon-signals.ts";
import { resolveStoreOptions, type StoreProcessOptions } from "./flags/flannel-store-flags.ts";

/**
 * The heap grows by a fifth after each collection, not up to fourfold: a third less memory, for a few percent of time.
 * (--optimize-for-size saves a tenth more, but takes half as long again for each request.)
 */
const HEAP_FLAGS = "--heap-growing-percent=20";

/** A store that cannot end by itself in this time is ended: what was acknowledged is on disk anyway. */
const STOP_WITHIN_MS = 4_500;
/**
 * How often it looks whether a certificate is due (the clock may be set at any time, after a boot most of all), and whether
 * the leases of a removed host can be deleted now.
 */
const LOOK_MS = 60_000;

/** `told`: only its help or version was asked for. */
async function main(signals: DaemonSignals): Promise<"served" | "told"> {
  const invocation = resolveStoreOptions(process.argv.slice(2));
  if (invocation.action !== "run") {
    process.stdout.write(invocation.action === "help" ? invocation.text : `${version}\n`);
    return "told";
  }
  setFlagsFromString(HEAP_FLAGS);
  using _memory = keepMemorySmall();
  const stopped = stopSignal(signals);
  const { options } = invocation;
  const directory = resolve(options.dataDirectory);
  using _lock = lockDirectory(directory);
  const cluster = options.isCluster ? await openCluster(directory) : undefined;
  await using server = await openServer(directory, options, cluster);
  using _upkeep = cluster && keepUp(cluster, server);
  writeToStdout(`flannel-store ${version}: serving ${directory} on ${server.urls.join(", ")}\n`);
  notifyService("READY=1");
  signals.onReload(() => reloadCertificates(server, options, cluster));
  await stopped;
  notifyService("STOPPING=1");
  return "served";
}

/** Also when the agent that started us is gone: then its end of the channel closes. */
function stopSignal(signals: DaemonSignals): Promise<void> {
  const { promise, resolve: stop } = Promise.withResolvers<void>();
  process.once("disconnect", stop);
  let isStopping = false;
  signals.onEnd(() => {
    if (isStopping) endProcess(exitCodes.failure);
    isStopping = true;
    stop();
    setTimeout(() => endProcess(exitCodes.failure), STOP_WITHIN_MS).unref();
  });
  return promise;
}

function lockDirectory(directory: string): FileLock {
  try {
    ensureDirectory(directory, 0o700);
    return FileLock.acquire(join(directory, "lock"));
  } catch (cause) {
    if (hasCode(cause, "AGENT_RUNNING")) {
      throw new FlannelError(
        "FILE_FAILED",
        `${directory} is in use by another flannel-store${holderText(cause.details)}`,
        { cause },
      );
    }
    throw new FlannelError("FILE_FAILED", `cannot use ${directory}: ${describeError(cause)}`, { cause });
  }
}

/** Loaded late: most stores serve no cluster. */
async function openCluster(directory: string): Promise<ClusterService> {
  const { ClusterService: Service } = await import("../flannel-store/membership/cluster-service.ts");
  const clusterDirectory = join(directory, "cluster");
  if (!existsSync(clusterDirectory)) {
    throw new FlannelError(
      "CONFIG_INVALID",
      `${clusterDirectory} does not exist: run flannelctl init to make a cluster`,
    );
  }
  return await Service.open(clusterDirectory, reportFailure);
}

function keepUp(cluster: ClusterService, server: StoreServer): Disposable {
  let shown = cluster.readTls();
  const look = async () => {
    await cluster.renewOwnCertificates();
    replaceTls(server, () => {
      const tls = cluster.readTls();
      const isShown = tls.cert.equals(shown.cert) && tls.clientCa.equals(shown.clientCa);
      shown = tls;
      return isShown ? undefined : tls;
    });
  };
  cluster.finishRemovals();
  const timer = setInterval(() => {
    look().catch(reportFailure);
    cluster.finishRemovals();
  }, LOOK_MS);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function openServer(directory: string, options: StoreProcessOptions, cluster: ClusterService | undefined) {
  const users = options.usersFile === undefined ? undefined : readUsersFile(options.usersFile);
  const tls = cluster?.readTls() ?? (options.tls && readTlsFiles(options.tls));
  // Loaded late: on Node 22 SQLite warns when it is loaded, and `--help` needs none.
  const { StoreServer } = await import("../flannel-store/server/store-server.ts");
  try {
    return await StoreServer.open({
      directory,
      listen: options.listen,
      retentionMs: options.historyMs,
      quotaBytes: options.quotaBytes,
      memoryBytes: options.memoryBytes,
      ...(users !== undefined && { users }),
      ...(tls !== undefined && { tls }),
      ...(cluster !== undefined && { extension: cluster }),
      onFailure: reportFailure,
    });
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", startFailure(cause, directory), { cause });
  }
}

function writeLine(text: string): void {
  writeToStderr(`flannel-store: ${text}\n`);
}

function reportFailure(error: unknown): void {
  writeLine(oneLine(describeError(error)));
}

function reloadCertificates(
  server: StoreServer,
  { tls }: StoreProcessOptions,
  cluster: ClusterService | undefined,
): void {
  if (cluster !== undefined) replaceTls(server, () => cluster.readTls());
  else if (tls !== undefined) replaceTls(server, () => readTlsFiles(tls));
}

/** The old ones stay when there are no new ones, or they cannot be used. */
function replaceTls(server: StoreServer, read: () => Parameters<StoreServer["replaceTls"]>[0] | undefined): void {
  try {
    const tls = read();
    if (tls !== undefined) server.replaceTls(tls);
  } catch (error) {
    writeLine(`cannot reload the certificates, the present ones stay in use: ${oneLine(describeError(error))}`);
  }
}

function startFailure(error: unknown, directory: string): string {
  if (error instanceof Error && "code" in error && "port" in error && "address" in error) {
    const where = `${String(error.address)}:${String(error.port)}`;
    if (error.code === "EADDRINUSE")
      return `${where} is in use by another program: choose another address with --listen`;
    return `cannot listen on ${where}: ${error.message}`;
  }
  if (hasCode(error, "FILE_FAILED")) return describeError(error);
  if (error instanceof Error && "code" in error && "hostname" in error) {
    return `cannot listen on ${String(error.hostname)}: ${error.message}`;
  }
  if (error instanceof Error && "code" in error && String(error.code).startsWith("ERR_OSSL")) {
    return `--tls-cert and --tls-key cannot be used: ${error.message}`;
  }
  return `cannot open the store in ${directory}: ${describeError(error)}`;
}

function readTlsFiles({ certFile, keyFile, clientCaFile }: NonNullable<StoreProcessOptions["tls"]>) {
  const clientCa = clientCaFile === undefined ? undefined : readPem("--tls-client-ca", clientCaFile);
  return {
    cert: readPem("--tls-cert", certFile),
    key: readPem("--tls-key", keyFile),
    ...(clientCa !== undefined && { clientCa }),
  };
}

function readPem(flag: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new FlannelError("CONFIG_INVALID", `${flag} ${file} cannot be read: ${describeError(cause)}`, { cause });
  }
}

/** Does not return: ends the process with its exit code. */
export async function runFlannelStore(signals: DaemonSignals): Promise<never> {
  let isAtOnce = false;
  try {
    isAtOnce = (await main(signals)) === "served";
  } catch (error) {
    const hint = hasCode(error, "USAGE") ? "\nflannel-store --help lists the flags" : "";
    writeLine(`${oneLine(error instanceof FlannelError ? error.message : describeError(error))}${hint}`);
    process.exitCode = exitCodeOfError(error);
  }
  if (isAtOnce) endProcess(exitCodes.ok);
  process.exit();
}
