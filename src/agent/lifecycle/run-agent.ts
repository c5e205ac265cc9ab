// Runs the agent as a process: lock, store, health checks, control socket, signals, exit code. An agent that has to
// restart (its configuration changed while it was away) does so in here, without the process ending.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BackendRegistry } from "../../backend/registry.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { agentExitCode, type ExitCode, exitCodes } from "../../exit-codes.ts";
import { RuleHost } from "../../firewall/rule-host.ts";
import { prefixAddress } from "../../ip/address.ts";
import { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { openNetworkDirectory, openStore } from "../../store/open-store.ts";
import { storeIdentity } from "../../store/store-identity.ts";
import type { StoreOptions } from "../../store/store-options.ts";
import type { SubnetStore } from "../../store/subnet-store.ts";
import { FileLock } from "../../sys/file-lock.ts";
import { ensureDirectory } from "../../sys/files.ts";
import { keepMemorySmall } from "../../sys/memory-trimmer.ts";
import { ServiceDescriptors } from "../../sys/service-descriptors.ts";
import { refillSpareDescriptors } from "../../sys/spare-descriptors.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import { Journal } from "../../telemetry/journal.ts";
import { Metrics } from "../../telemetry/metrics/metrics.ts";
import type { Reloaded } from "../control/control-protocol.ts";
import { ControlServer } from "../control/control-server.ts";
import { chooseControlSocket } from "../control/control-socket-path.ts";
import { HealthServer } from "../control/health-server.ts";
import type { HostIdentity } from "../state/warm-state.ts";
import type { Agent } from "./agent.ts";
import { AgentReport } from "./agent-report.ts";
import { CertificateRenewer } from "./certificate-renewer.ts";
import { CniMaintenance } from "./cni-maintenance.ts";
import { DescriptorNews } from "./descriptor-findings.ts";
import { EmbeddedStoreProcess } from "./embedded-store-process.ts";
import { countEvents, MetricsEndpoint } from "./metrics-endpoint.ts";
import { noOtherNetworks } from "./network-claims.ts";
import type { NetworkReport } from "./network-report.ts";
import { NetworkRun } from "./network-run.ts";
import { openProber } from "./open-prober.ts";
import { answerExaminations } from "./peer-examinations.ts";
import { type HeldFiles, RunFiles } from "./run-files.ts";
import { SeveralNetworks } from "./several-networks.ts";
import { StateAnnouncer, tryToForget } from "./state-announcer.ts";
import { StateLog } from "./state-log.ts";

/** The state depends on the clock too (expiry, store age); also how often a failed file is tried again. */
const TICK_MS = 2_000;

export interface RunOptions {
  readonly options: AgentOptions;
  readonly version: string;
  readonly backends: BackendRegistry;
  readonly logger: AgentLogger;
  /** Aborted to stop. */
  readonly signal: AbortSignal;
  /** flannel-store's main module, for `--store=embedded`. */
  readonly storeProgram: string;
  /** Calls back for every SIGHUP. */
  readonly onReload: (reload: () => void) => Disposable;
}

export async function runAgent(run: RunOptions): Promise<ExitCode> {
  const { options, logger, signal } = run;
  // Before any other program is started: it is not to have them.
  using descriptorStore = new ServiceDescriptors();
  try {
    // What tells agents apart: the subnet file, or the directory of those of several networks.
    const place = options.several?.directory ?? options.subnetFile;
    makeRunDirectory(place);
    using lock = FileLock.acquire(`${place}.lock`);
    using _memory = keepMemorySmall();
    const metrics = new Metrics(options.metrics);
    using _events = countEvents(logger, metrics.agent);
    const journal = new Journal();
    using _journal = logger.follow(journal.record);
    const report = new AgentReport(options, run.version, metrics, journal);
    const only = options.several === undefined ? report.add(options) : undefined;
    await using _health = await openHealthServer(options, report);
    await using _metrics = MetricsEndpoint.start(options, () => report.metrics(), logger);
    const socket = await chooseControlSocket(options.controlSocket, place, logger);
    await using control = await ControlServer.open(socket, report.handlers);
    await using embedded = await startEmbeddedStore(run);
    const etcd =
      embedded === undefined ? options.etcd : { endpoints: embedded.endpoint, prefix: options.etcd.prefix, tls: {} };
    const withStore = { ...run, options: { ...options, etcd } };
    const parts: ProcessParts = { report, descriptorStore, held: { lock, control }, socket };
    if (only === undefined) await runSeveralNetworks(withStore, parts);
    for (let isRestart = false; only !== undefined && !signal.aborted; isRestart = true) {
      await runUntilEnd(withStore, parts, only, isRestart);
    }
  } catch (error) {
    if (!signal.aborted) {
      tryToForget(descriptorStore, logger);
      return sayWhy(error, logger);
    }
  }
  logger.info("agent.stopped", "stopped on request; lease and kernel state stay, and the kernel keeps forwarding");
  return exitCodes.ok;
}

async function startEmbeddedStore({ options, storeProgram, logger }: RunOptions) {
  if (options.store !== "embedded") return undefined;
  const { stateDirectory, storeListen: listen } = options;
  if (listen !== undefined) logger.warn("store.open-to-users", openToUsers(listen));
  const given = { program: storeProgram, stateDirectory, ...(listen !== undefined && { listen }), logger };
  return await EmbeddedStoreProcess.start(given);
}

function openToUsers(listen: string): string {
  return `every user of this host can change the network at ${listen}: leave out --store-listen unless another program needs it`;
}

function makeRunDirectory(place: string): void {
  try {
    ensureDirectory(dirname(place), 0o755);
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot create the directory of the subnet file ${place}`, { cause });
  }
}

async function openHealthServer(options: AgentOptions, report: AgentReport): Promise<HealthServer | undefined> {
  if (options.healthz === undefined) return undefined;
  const stateOf = (network: string) => report.stateOf(network);
  return HealthServer.open({ ...options.healthz, state: () => report.state(), stateOf });
}

/** What the process has, whatever restarts in it. */
interface ProcessParts {
  readonly report: AgentReport;
  readonly descriptorStore: ServiceDescriptors;
  readonly held: Pick<HeldFiles, "lock" | "control">;
  /** The control socket: not the one asked for where another agent has that. */
  readonly socket: string;
}

/** Returns when the agent is to restart or to stop; throws what made it fail. */
async function runUntilEnd(
  run: RunOptions,
  { report, descriptorStore, held, socket }: ProcessParts,
  only: NetworkReport,
  isRestart: boolean,
): Promise<void> {
  const { options, logger, signal } = run;
  // Where another program gives hosts their subnets, the limits of what is leased mean nothing, as in flannel.
  const backends = options.store === "kubernetes" ? run.backends.withGivenSubnets() : run.backends;
  await using rtnetlink = Rtnetlink.open();
  using ruleHost = new RuleHost();
  const storeOptions: StoreOptions =
    options.store === "kubernetes" ? { type: "kubernetes", ...options.kubernetes } : { type: "etcd", ...options.etcd };
  await using store = await openStore(storeOptions, { env: process.env, version: run.version, logger });
  logStore(store, logger);
  const announcer = new StateAnnouncer({
    logger,
    metrics: report.agentMetrics,
    descriptorStore,
    log: new StateLog(logger),
  });
  using prober = openProber(options.probeIntervalMs);
  await using network = NetworkRun.start({
    ...{ options, backends, logger, store, rtnetlink, ruleHost, prober, isRestart, signal, descriptorStore },
    identity: storeIdentity(storeOptions),
    host: await identifyHost(options, rtnetlink),
    report: only,
    others: noOtherNetworks,
    onSettled: () => announcer.follow(report),
  });
  const { agent } = network;
  await using cni = new CniMaintenance({ options, rtnetlink, logger, metrics: report.agentMetrics });
  cni.follow(undefined);
  const reloadAll = () => reload(agent, store, options, logger);
  report.follow({ store, cni, reload: reloadAll });
  const { certificates } = store;
  await using _certificates =
    certificates && CertificateRenewer.start({ etcd: options.etcd, certificates, logger, signal });
  await using _examinations = answersExaminations(run, socket);
  const descriptors = new DescriptorNews(logger);
  const runFiles = new RunFiles({ ...held, claims: () => agent.network }, logger);
  const ticker = setInterval(() => {
    network.tick();
    announcer.logFindings(report);
    report.tickCni();
    runFiles.tick();
    descriptors.take(refillSpareDescriptors());
  }, TICK_MS);
  using _reload = run.onReload(() => void reloadAll());
  const end = await Promise.race([network.ended, untilStopped(signal)]);
  clearInterval(ticker);
  announcer.end(end.type === "stopped");
  if (end.type === "failed") throw end.error;
}

/** Returns when the agent is to stop. What fails in one network is its own matter. */
async function runSeveralNetworks(
  run: RunOptions,
  { report, descriptorStore, held, socket }: ProcessParts,
): Promise<void> {
  const { options, logger, signal, backends } = run;
  await using rtnetlink = Rtnetlink.open();
  using ruleHost = new RuleHost();
  await using directory = await openNetworkDirectory({ type: "etcd", ...options.etcd });
  logStore(directory, logger);
  const announcer = new StateAnnouncer({ logger, metrics: report.agentMetrics });
  using prober = openProber(options.probeIntervalMs);
  await using networks = SeveralNetworks.start({
    ...{ options, backends, logger, directory, rtnetlink, ruleHost, prober, signal, report, descriptorStore },
    identifyHost: () => identifyHost(options, rtnetlink),
    onSettled: () => announcer.follow(report),
  });
  const reloadAll = () => reload(networks, directory, options, logger);
  report.follow({
    store: directory,
    reload: reloadAll,
    ...(networks.view !== undefined && { storeView: networks.view }),
  });
  const { certificates } = directory;
  await using _certificates = CertificateRenewer.start({ etcd: options.etcd, certificates, logger, signal });
  await using _examinations = answersExaminations(run, socket);
  const descriptors = new DescriptorNews(logger);
  const runFiles = new RunFiles(held, logger);
  const ticker = setInterval(() => {
    networks.tick();
    announcer.follow(report);
    announcer.logFindings(report);
    runFiles.tick();
    descriptors.take(refillSpareDescriptors());
  }, TICK_MS);
  using _reload = run.onReload(() => void reloadAll());
  await untilStopped(signal);
  clearInterval(ticker);
  announcer.end(true);
}

/** Until it is disposed of. */
function answersExaminations(
  { options, logger, signal }: Pick<RunOptions, "options" | "logger" | "signal">,
  socket: string,
): AsyncDisposable {
  const end = new AbortController();
  const { subnetFile, stateDirectory, cniStateDirectory } = options;
  const flags = [
    ...[`--socket=${socket}`, `--subnet-file=${subnetFile}`],
    ...[`--state-dir=${stateDirectory}`, `--cni-state-dir=${cniStateDirectory}`],
  ];
  const etcd = options.store === "etcd" ? options.etcd : { ...options.etcd, renewsCertificate: false };
  const answered = answerExaminations({ etcd, flags, logger, signal: AbortSignal.any([signal, end.signal]) });
  return {
    [Symbol.asyncDispose]: async () => {
      end.abort();
      await answered;
    },
  };
}

function logStore(store: Pick<SubnetStore, "description" | "warnings">, logger: AgentLogger): void {
  logger.info("store.opened", `using the store ${store.description}`);
  for (const warning of store.warnings) logger.warn("store.odd", warning);
}

async function untilStopped(signal: AbortSignal): Promise<{ readonly type: "stopped" }> {
  const { promise, resolve } = Promise.withResolvers<{ readonly type: "stopped" }>();
  const stop = () => resolve({ type: "stopped" });
  signal.addEventListener("abort", stop, { once: true });
  // The wish may have come while the parts were being opened.
  if (signal.aborted) stop();
  return promise;
}

async function identifyHost(options: AgentOptions, rtnetlink: Rtnetlink): Promise<HostIdentity> {
  const links = await rtnetlink.dump("link");
  const addresses = await rtnetlink.dump("address");
  const announced = [options.publicIp, options.publicIpv6].filter((address) => address !== undefined);
  return {
    addresses: new Set([...addresses.map(({ address }) => prefixAddress(address)), ...announced]),
    macs: new Set(links.flatMap(({ mac, isLoopback }) => (mac === undefined || isLoopback ? [] : [mac]))),
  };
}

/** SIGHUP, `flannelctl reload`: verbosity from `<state-dir>/log-level` if that file is there, certificates from disk, configuration from the store. */
async function reload(
  agent: Pick<Agent, "reload">,
  { certificates }: Pick<SubnetStore, "certificates">,
  options: AgentOptions,
  logger: AgentLogger,
): Promise<Reloaded> {
  logger.setVerbosity(readVerbosity(options));
  logger.info("agent.reload", "reloading log level, certificates and network configuration", {
    verbosity: logger.verbosity,
  });
  try {
    await certificates?.reload();
    await agent.reload();
    return {};
  } catch (error) {
    const problem = describeError(error);
    logger.error("agent.reload-failed", "cannot reload everything; keeping the previous values", { error: problem });
    return { problem };
  }
}

function readVerbosity(options: AgentOptions): number {
  try {
    const text = readFileSync(join(options.stateDirectory, "log-level"), "utf8").trim();
    return /^\d{1,2}$/.test(text) ? Number(text) : options.verbosity;
  } catch {
    return options.verbosity;
  }
}

function sayWhy(error: unknown, logger: AgentLogger): ExitCode {
  const code = error instanceof FlannelError ? error.code : "INTERNAL";
  logger.error("agent.failed", describeError(error), { code });
  if (code === "INTERNAL" && error instanceof Error) logger.error("agent.failed.stack", error.stack ?? "");
  return agentExitCode(error);
}
