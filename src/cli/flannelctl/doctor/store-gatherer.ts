// What `flannelctl doctor` finds out about the store: stage by stage where the agent does not reach it or there is none, and
// the files and the clock that the connection needs. Nothing is written.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { lookup } from "node:dns/promises";
import { readFileSync, statSync } from "node:fs";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { connect, isIP } from "node:net";
import { hostname } from "node:os";
import { connect as connectTls } from "node:tls";
import type { CertificateFact, EndpointFacts, StoreFacts } from "../../../doctor/store-facts.ts";
import { describeError, FlannelError } from "../../../errors.ts";
import type { Lease } from "../../../lease/lease.ts";
import type { LeaseAdministration } from "../../../store/lease-administration.ts";
import type { Invocation } from "../session/invocation.ts";
import { withStore } from "../session/open-store.ts";
import type { KnownHost } from "./known-host.ts";
import { poolSizeOf } from "./pool-size.ts";

const DAY_MS = 86_400_000;
const WARN_AHEAD_MS = 30 * DAY_MS;
const MAX_ENDPOINTS = 9;

const nothing: Content = {};

/** `limitMs`: of each stage. */
export async function gatherStore(invocation: Invocation, known: KnownHost, limitMs: number): Promise<StoreFacts> {
  const { options } = invocation;
  const { status } = known;
  const endpoints = endpointsOf(invocation, known);
  const isConnected = status?.store.connected === true;
  const isNamed = options.isStoreNamed || options.kubernetes !== undefined;
  const [stages, content, clock] = await Promise.all([
    isConnected ? [] : Promise.all(endpoints.map((endpoint) => tryEndpoint(endpoint, limitMs))),
    isNamed ? readStore(invocation, known, limitMs) : nothing,
    clockAhead(invocation, endpoints, limitMs),
  ]);
  const { isSilent = false, refusal, ...told } = content;
  // One read that is late is no outage while the agent hears from the store.
  const isOutage = refusal !== undefined && !(isConnected && refusal.code === "STORE_UNAVAILABLE");
  const file = fileFromFuture(known);
  const problem = isConnected ? undefined : status?.store.problem;
  return {
    endpoints: isSilent ? stages.map((stage) => silent(stage, limitMs)) : stages,
    certificates: [...certificates(invocation), ...certificatesOf(status)],
    ...told,
    ...(isOutage && { refusal }),
    ...(status !== undefined && { description: status.store.description }),
    ...(status !== undefined && !isConnected && { agentProblem: problem ?? "no answer yet" }),
    ...(clock !== undefined && { clockAheadSeconds: clock }),
    ...(file !== undefined && { fileFromFuture: file }),
  };
}

/** It takes connections and answers nothing: a process that hangs, or a member without a quorum. */
function silent(stage: EndpointFacts, limitMs: number): EndpointFacts {
  if (stage.failedStage !== undefined) return stage;
  return { ...stage, failedStage: "answer", reason: `nothing within ${Math.round(limitMs / 100) / 10} s` };
}

/** Those that the agent tells of; else those that were named here. */
function endpointsOf({ options }: Invocation, { status }: KnownHost): string[] {
  const told = [...(status?.store.description ?? "").matchAll(/https?:\/\/[^\s,;)]+/g)].map(([endpoint]) => endpoint);
  const named = options.isStoreNamed && options.kubernetes === undefined ? options.etcd.endpoints.split(",") : [];
  return [...new Set(told.length > 0 ? told : named.map((each) => each.trim()))]
    .filter((endpoint) => URL.canParse(endpoint))
    .slice(0, MAX_ENDPOINTS);
}

async function tryEndpoint(endpoint: string, limitMs: number): Promise<EndpointFacts> {
  const { hostname, port, protocol } = new URL(endpoint);
  if (protocol !== "http:" && protocol !== "https:") return { endpoint };
  const host = hostname.replace(/^\[|\]$/g, "");
  const failed = (failedStage: NonNullable<EndpointFacts["failedStage"]>, error: unknown): EndpointFacts => ({
    endpoint,
    failedStage,
    reason: describeError(error),
  });
  try {
    if (isIP(host) === 0) await lookup(host);
  } catch (error) {
    return failed("name", error);
  }
  const place = { host, port: Number(port || (protocol === "https:" ? 443 : 80)) };
  try {
    await opened(connect(place), limitMs);
  } catch (error) {
    return failed("connect", error);
  }
  if (protocol !== "https:") return { endpoint };
  try {
    // Only whether it speaks TLS at all: whether its certificate is trusted shows in the connection with the CA.
    await opened(
      connectTls({ ...place, rejectUnauthorized: false, ...(isIP(host) === 0 && { servername: host }) }),
      limitMs,
      "secureConnect",
    );
    return { endpoint };
  } catch (error) {
    return failed("tls", error);
  }
}

function opened(socket: ReturnType<typeof connect>, limitMs: number, event = "connect"): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = () => socket.destroy(new Error(`no answer within ${Math.round(limitMs / 100) / 10} s`));
    // The answer may be waiting behind the timer.
    const timer = setTimeout(() => setImmediate(giveUp), limitMs);
    const end = (settle: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    socket.once(event, () => end(resolve));
    socket.on("error", (error) => end(() => reject(error)));
  });
}

interface Content
  extends Pick<StoreFacts, "pool" | "refusal" | "writeRefusal" | "takenBy" | "isLeaseGone" | "kubernetes"> {
  /** It did not answer in time. */
  readonly isSilent?: boolean;
}

/** As the store has it now: whether it lets us read, who has our lease, and in Kubernetes what this host's Node says. */
async function readStore(invocation: Invocation, known: KnownHost, limitMs: number): Promise<Content> {
  const limit = AbortSignal.any([invocation.signal, AbortSignal.timeout(limitMs)]);
  const named = invocation.options.kubernetes;
  const usualName = named?.nodeName ?? known.state?.own.key ?? hostname().toLowerCase();
  let found: Content = named === undefined ? {} : { kubernetes: { nodeName: usualName, denied: [] } };
  try {
    // Its remarks are for other commands.
    const quiet = { ...invocation, terminal: { ...invocation.terminal, writeErr: () => undefined } };
    return await withStore(quiet, async (store) => {
      // First: what it may not do explains what it cannot.
      const record = await store.ownRecord?.(usualName, limit);
      if (record !== undefined) found = { kubernetes: record };
      const leases = await store.list(limit);
      found = { ...found, ...ownLease(known, leases) };
      if (known.state === undefined && named === undefined) {
        const size = poolSizeOf((await store.networkConfig(limit)).text);
        if (size !== undefined) found = { ...found, pool: { size, used: leases.length } };
      }
      const writeRefusal = await tryWrite(store, known, limit);
      return writeRefusal === undefined ? found : { ...found, writeRefusal };
    });
  } catch (error) {
    if (invocation.signal.aborted) return found;
    if (limit.aborted) return { ...found, isSilent: true };
    if (!(error instanceof FlannelError)) return found;
    return { ...found, refusal: { code: error.code, message: error.message } };
  }
}

/** Why it would take no write of this host's lease; undefined when it would, or that cannot be reported. */
async function tryWrite(
  store: LeaseAdministration,
  { state }: KnownHost,
  limit: AbortSignal,
): Promise<StoreFacts["writeRefusal"]> {
  if (state === undefined) return undefined;
  try {
    await store.tryWrite?.(state.own.key, limit);
    return undefined;
  } catch (error) {
    if (!(error instanceof FlannelError) || limit.aborted) return undefined;
    return { code: error.code, message: error.message };
  }
}

function ownLease({ state }: KnownHost, leases: readonly Lease[]): Content {
  if (state === undefined) return {};
  const { own } = state;
  const now = leases.find(({ key }) => key === own.key);
  if (now === undefined) return { isLeaseGone: true };
  const { publicIp, publicIpv6 } = now.attributes;
  const isOurs = publicIp === own.attributes.publicIp && publicIpv6 === own.attributes.publicIpv6;
  return isOurs ? {} : { takenBy: publicIp ?? publicIpv6 ?? "another host" };
}

/** By the Date of an answer over HTTP; undefined where none has one. */
async function clockAhead(
  { options }: Invocation,
  endpoints: readonly string[],
  limitMs: number,
): Promise<number | undefined> {
  const [endpoint] = endpoints;
  if (endpoint === undefined) return undefined;
  const { caFile, certFile, keyFile } = options.etcd;
  const read = (path: string) => (path === "" ? undefined : readFileSync(path));
  return await new Promise((resolve) => {
    try {
      const isTls = endpoint.startsWith("https:");
      const url = new URL("/version", endpoint);
      const common = { method: "HEAD", timeout: limitMs, agent: false } as const;
      const call = isTls
        ? requestHttps(url, {
            ...common,
            ca: read(caFile),
            cert: read(certFile),
            key: read(keyFile),
            rejectUnauthorized: false,
          })
        : requestHttp(url, common);
      call.on("response", (response) => {
        response.destroy();
        const theirs = Date.parse(response.headers.date ?? "");
        // A header has whole seconds.
        resolve(Number.isNaN(theirs) ? undefined : (Date.now() - theirs) / 1_000 - 0.5);
      });
      call.on("timeout", () => call.destroy());
      call.on("error", () => resolve(undefined));
      call.on("close", () => resolve(undefined));
      call.end();
    } catch {
      resolve(undefined);
    }
  });
}

function fileFromFuture({ subnetFile, stateDirectory }: KnownHost): StoreFacts["fileFromFuture"] {
  for (const path of [subnetFile, stateDirectory]) {
    const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
    const aheadSeconds = modifiedMs === undefined ? 0 : (modifiedMs - Date.now()) / 1_000;
    if (aheadSeconds > 1) return { path, aheadSeconds };
  }
  return undefined;
}

function certificates({ options: { etcd } }: Invocation): CertificateFact[] {
  const { caFile, certFile, keyFile } = etcd;
  const facts = [...judgeFile(caFile, false), ...judgeFile(certFile, true)];
  return keyFile === "" ? facts : [...facts, ...judgeKey(keyFile, certFile)];
}

/** Those that the running agent uses. */
function certificatesOf(status: KnownHost["status"]): CertificateFact[] {
  return (status?.store.certificates ?? []).flatMap(({ role, source, endsAt }) => {
    const endsMs = Date.parse(endsAt);
    if (!(endsMs < Date.now() + WARN_AHEAD_MS)) return [];
    const isSoon = endsMs > Date.now();
    const problem = `(${role}, in use by the agent) ${isSoon ? "expires" : "expired"} on ${endsAt.slice(0, 10)}`;
    return [{ path: source, problem, isSoon, isClock: false }];
  });
}

function judgeFile(path: string, isClient: boolean): CertificateFact[] {
  if (path === "") return [];
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(readFileSync(path));
  } catch (error) {
    return [
      { path, problem: `cannot be read as a certificate: ${describeError(error)}`, isSoon: false, isClock: false },
    ];
  }
  const [startsMs, endsMs] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  const day = new Date(endsMs).toISOString().slice(0, 10);
  const fact = (problem: string, isSoon = false, isClock = false): CertificateFact => ({
    path,
    problem,
    isSoon,
    isClock,
  });
  const facts: CertificateFact[] = [];
  if (startsMs > Date.now() + 300_000)
    facts.push(fact(`begins on ${new Date(startsMs).toISOString()} only`, false, true));
  if (endsMs <= Date.now()) facts.push(fact(`expired on ${day}`));
  else if (endsMs < Date.now() + WARN_AHEAD_MS) facts.push(fact(`expires on ${day}`, true));
  const purposes = certificate.keyUsage ?? [];
  if (isClient && purposes.length > 0 && !purposes.includes("1.3.6.1.5.5.7.3.2")) {
    facts.push(fact("is not made for clients (extended key usage clientAuth is missing)"));
  }
  return facts;
}

function judgeKey(path: string, certFile: string): CertificateFact[] {
  const fact = (problem: string): CertificateFact => ({ path, problem, isSoon: false, isClock: false });
  try {
    const text = readFileSync(path);
    if (/ENCRYPTED/.test(text.toString("latin1"))) return [fact("is encrypted with a passphrase")];
    const key = createPrivateKey(text);
    if (certFile === "" || new X509Certificate(readFileSync(certFile)).checkPrivateKey(key)) return [];
    return [fact(`is not the key of ${certFile}`)];
  } catch (error) {
    return [fact(`cannot be read as a private key: ${describeError(error)}`)];
  }
}
