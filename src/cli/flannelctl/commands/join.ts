// `flannelctl join`: makes this host a member of the cluster whose store made the token. Whatever stops it half-way, it can
// simply be run again, also with the same token.
import { existsSync } from "node:fs";
import { FlannelError, hasCode } from "../../../errors.ts";
import type { ExitCode } from "../../../exit-codes.ts";
import { parseStoreAddress, type StoreAddress } from "../../../flannel-store/grpc/store-address.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import {
  type Joined,
  type JoinOptions as JoinOrder,
  joinCluster,
} from "../../../flannel-store/membership/join-cluster.ts";
import { parseToken } from "../../../flannel-store/membership/join-token.ts";
import { endsAtMs, readCertificate } from "../../../flannel-store/membership/keys.ts";
import { MemberRegistry } from "../../../flannel-store/membership/member-registry.ts";
import { serverNames } from "../../../flannel-store/membership/server-names.ts";
import { hostKey, memberEndpoint, memberName, writeHostFiles } from "../../install/host-files.ts";
import { flannelctlOn, type HostPaths } from "../../install/host-paths.ts";
import { checkPlainPaths, type HostServices, refuseForeignUnits } from "../../install/services.ts";
import { type Invocation, present, remark } from "../session/invocation.ts";
import { joinOutputSchema } from "../session/json-output.ts";
import {
  bringUp,
  chooseHostName,
  exitCodeOf,
  renderBroughtUp,
  reportProgress,
  reportStep,
  requireRoot,
  usesSystemd,
} from "./bring-up.ts";
import { lockMembership } from "./membership-lock.ts";

export interface JoinOptions {
  readonly token?: string;
  readonly name?: string;
  readonly systemd: boolean;
}

/** 0 done and, with systemd, ready; else 1. */
export async function join(invocation: Invocation, address: string, given: JoinOptions): Promise<ExitCode> {
  const systemd = usesSystemd(invocation, given);
  requireRoot(invocation, systemd, "join");
  const { paths } = invocation.options;
  using _alone = lockMembership(paths);
  const installation = checkPlainPaths(paths);
  if (systemd) refuseForeignUnits(paths, ["flanneld"]);
  const store = parseStoreAddress(address);
  const endpoint = chooseEndpoint(paths, store);
  const name = chooseHostName(given.name ?? memberName(paths));
  const token = await readToken(invocation, given.token);
  const prefix = await admitHost(invocation, store, endpoint, name, token);
  const services: HostServices = { installation, paths, agent: { endpoint, prefix } };
  const broughtUp = await bringUp(invocation, services, systemd);
  const output = { host: name, endpoint, ...broughtUp };
  present(invocation, joinOutputSchema, output, (value, paint) => [
    "",
    `${paint.bold(value.host)} is a member of the cluster at ${value.endpoint}`,
    ...renderBroughtUp(value, services, paint),
    ...(value.ready === true
      ? ["", `${flannelctlOn(paths)} status shows the state of this host, lease list shows all hosts`]
      : []),
  ]);
  return exitCodeOf(broughtUp, invocation);
}

/** The etcd prefix of the cluster. The key is on disk before the store hears of it: the answer may be lost on the way. */
async function admitHost(
  invocation: Invocation,
  store: StoreAddress,
  endpoint: string,
  name: string,
  token: string,
): Promise<string> {
  const { options, signal } = invocation;
  const { paths } = options;
  const keyPem = await hostKey(paths);
  reportProgress(invocation, `asking ${store.url} to admit this host as ${name}`);
  const { certificatePem, caPem, etcdPrefix } = await askStore(
    { address: store, token, hostName: name, keyPem },
    signal,
  );
  reportStep(invocation, `${store.url} is the store that issued the token, and admitted this host`);
  warnOfClock(invocation, certificatePem);
  await writeHostFiles(paths, { certificatePem, caPem, agent: { endpoint, prefix: etcdPrefix } });
  reportStep(invocation, `key, certificate and settings of this host in ${paths.etcDirectory}`);
  return etcdPrefix;
}

/** Nothing of the join needs the clock, but the agent cannot connect by a wrong one. */
function warnOfClock(invocation: Invocation, certificatePem: string): void {
  const certificate = readCertificate(certificatePem, "the certificate from the store");
  const nowMs = invocation.terminal.nowMs();
  const [startMs, endMs] = [certificate.validFromDate.getTime(), endsAtMs(certificate)];
  if (nowMs >= startMs && nowMs < endMs) return;
  const limit = nowMs < startMs ? `not valid before ${instant(startMs)}` : `not valid after ${instant(endMs)}`;
  remark(
    invocation,
    `warning: by the clock of this host, ${instant(nowMs)}, the certificate from the store is ${limit}, so the agent cannot ` +
      "connect: the clock of this host or of the store's host is wrong; correct it, then start flanneld",
  );
}

function instant(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

async function askStore(options: JoinOrder, signal: AbortSignal): Promise<Joined> {
  try {
    return await joinCluster(options, signal);
  } catch (cause) {
    if (!hasCode(cause, "STORE_UNAVAILABLE")) throw cause;
    const message = `${cause.message}. ${unreachableHint(cause.message, options.address.port)}`;
    throw new FlannelError(cause.code, message, { cause, tellsCause: true });
  }
}

/** What to look at depends on how far the connection came: name, route, port, program. */
function unreachableHint(problem: string, port: number): string {
  if (/ENOTFOUND|EAI_AGAIN/.test(problem)) return "Check the name, and the name servers of this host";
  if (/ENETUNREACH|EHOSTUNREACH/.test(problem)) return "Check the address, and the routes of this host";
  if (problem.includes("does not speak TLS"))
    return "Another program, or a flannel-store without --cluster, listens there: check address and port";
  return `Check that flannel-store runs there and that firewalls allow TCP port ${port}`;
}

/**
 * Where the agent finds the store. Joining again at the same store is how a host whose certificate has ended comes back.
 * Throws `CLUSTER_CONFLICT` for another one.
 */
function chooseEndpoint(paths: HostPaths, { host, port, url }: StoreAddress): string {
  const present = memberEndpoint(paths);
  if (present === undefined || present === url) return url;
  const files = clusterFiles(paths.clusterDirectory);
  const facts = existsSync(files.members) ? MemberRegistry.open(files).facts : undefined;
  if (facts?.port === port && serverNames(facts.addresses).includes(host)) return present;
  const cure =
    facts === undefined
      ? `to remove it from there, run ${flannelctlOn(paths)} leave; if that store now has the new address, change the address in the file instead`
      : "it runs the store of that cluster";
  throw new FlannelError(
    "CLUSTER_CONFLICT",
    `this host is already a member of the cluster at ${present} (${paths.envFile}): ${cure}`,
  );
}

/** From the command line, from standard input, or from the environment, where ps does not show it. Throws `USAGE`. */
async function readToken({ terminal }: Invocation, given: string | undefined): Promise<string> {
  const text = given === "-" ? await terminal.readInput() : (given ?? terminal.env["FLANNEL_JOIN_TOKEN"] ?? "");
  if (text.trim() === "") {
    throw new FlannelError(
      "USAGE",
      "a token is missing: run flannelctl token create on the store's host, and pass the token with --token (or FLANNEL_JOIN_TOKEN)",
    );
  }
  parseToken(text);
  return text.trim();
}
