// The other end, for `flannelctl doctor --peer`: in a small cluster its own doctor is asked, through the store and with this host's
// certificate; elsewhere what can be seen of it from here has to do, and that is said.
import { describeError } from "../../../errors.ts";
import { ClusterClient } from "../../../flannel-store/membership/cluster-client.ts";
import { tryParseJson } from "../../../json/try-parse-json.ts";
import type { Lease } from "../../../lease/lease.ts";
import { type DoctorOutput, doctorReportSchema } from "../session/doctor-output.ts";
import type { GlobalOptions, Invocation } from "../session/invocation.ts";
import { isMeantLease } from "../session/meant-peer.ts";

type PeerReport = NonNullable<DoctorOutput["peer"]>;

/** Never rejects. `peers`: leases of others, as far as this host knows them. */
export async function reportOfPeer(
  { options, signal }: Invocation,
  target: string,
  peers: readonly Lease[],
): Promise<PeerReport> {
  const lease = peers.find((peer) => isMeantLease(peer, target));
  const publicIp = lease?.attributes.publicIp ?? lease?.attributes.publicIpv6;
  const common = {
    host: target,
    ...(lease !== undefined && { lease: lease.key }),
    ...(publicIp !== undefined && { publicIp }),
  };
  const client = memberClient(options);
  if (client === undefined) {
    const how =
      options.kubernetes === undefined
        ? "flannelctl doctor there"
        : `kubectl exec in its flannel pod: flannelctl doctor`;
    return {
      ...common,
      reason: `it was not asked: hosts ask each other only in a cluster made by flannelctl init; run ${how}, too`,
    };
  }
  try {
    return { ...common, ...(await askMember(client, publicIp ?? target, signal)) };
  } catch (error) {
    return { ...common, reason: `it was not asked: ${describeError(error)}` };
  }
}

/** Undefined where this host cannot be a member of a small cluster. */
export function memberClient({ etcd, kubernetes }: GlobalOptions): ClusterClient | undefined {
  const { endpoints, caFile, certFile, keyFile } = etcd;
  if (kubernetes !== undefined || [caFile, certFile, keyFile].includes("")) return undefined;
  return new ClusterClient({ endpoints, caFile, certFile, keyFile });
}

/** `host`: its name in the cluster, or its address. Rejects as `ClusterClient.examineHost` does. */
export async function askMember(
  client: ClusterClient,
  host: string,
  signal: AbortSignal,
): Promise<Pick<PeerReport, "host" | "report" | "reason">> {
  const { hostName, report } = await client.examineHost(host, signal);
  return { host: hostName, ...read(report) };
}

/** What came from another host is checked like anything else from outside. */
function read(text: string): Pick<PeerReport, "report" | "reason"> {
  const parsed = tryParseJson(text);
  const found = doctorReportSchema.safeParse(parsed);
  if (found.success) return { report: found.data };
  const said = typeof parsed === "object" && parsed !== null && "error" in parsed ? String(parsed.error) : "";
  return {
    reason: said === "" ? "its answer is of another version of flannel" : `its doctor failed: ${said.slice(0, 500)}`,
  };
}
