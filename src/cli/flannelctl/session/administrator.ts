// The administrator's calls to the store of a cluster: from the store's own host, with the certificate that lies there.

import { FlannelError, hasCode } from "../../../errors.ts";
import { hostAndPort } from "../../../flannel-store/grpc/store-address.ts";
import type { RemovedLeases } from "../../../flannel-store/membership/cluster.ts";
import { ClusterClient } from "../../../flannel-store/membership/cluster-client.ts";
import { clusterFiles } from "../../../flannel-store/membership/cluster-files.ts";
import { MemberRegistry } from "../../../flannel-store/membership/member-registry.ts";
import { count } from "../../../terminal/text.ts";
import type { Invocation } from "./invocation.ts";

/** Throws `USAGE` elsewhere than on the store's host, and for others than root. */
export function openAdministrator({ options }: Invocation): ClusterClient {
  const { clusterDirectory } = options.paths;
  const files = clusterFiles(clusterDirectory);
  try {
    const { addresses, port } = MemberRegistry.open(files).facts;
    const endpoints = ["127.0.0.1", ...addresses].map((address) => `https://${hostAndPort(address, port)}`).join(",");
    const { caCertificate: caFile, adminCertificate: certFile, adminKey: keyFile } = files;
    return new ClusterClient({ endpoints, caFile, certFile, keyFile });
  } catch (error) {
    if (!hasCode(error, "FILE_FAILED")) throw error;
    throw new FlannelError(
      "USAGE",
      `run this command as root on the host that runs the store of a cluster made by flannelctl init: ${error.message}`,
    );
  }
}

/** What became of the leases of a host that is no member any more. */
export function describeRemovedLeases({ leases, sharedAddresses }: Omit<RemovedLeases, "pendingReason">): string[] {
  const gone =
    leases.length === 0
      ? "no lease announces an address from which it connected; see flannelctl lease list"
      : `${count(leases.length, "lease")} deleted: ${leases.join(", ")}`;
  const shared = sharedAddresses.map(
    (address) =>
      `other hosts connect from ${address}, too: if a lease of the removed host announces this address, ` +
      "delete that lease with flannelctl lease release LEASE --force",
  );
  return [gone, ...shared];
}
