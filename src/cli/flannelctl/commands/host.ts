// `flannelctl host`: the members of the cluster.
import type { z } from "zod";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import type { Host } from "../../../flannel-store/membership/cluster.ts";
import { formatDuration, formatTable } from "../../../terminal/text.ts";
import { describeRemovedLeases, openAdministrator } from "../session/administrator.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { hostListOutputSchema, hostRemoveOutputSchema } from "../session/json-output.ts";

type HostOutput = z.infer<typeof hostListOutputSchema>["hosts"][number];

export async function listHosts(invocation: Invocation): Promise<ExitCode> {
  const nowMs = invocation.terminal.nowMs();
  const hosts = await openAdministrator(invocation).listHosts(invocation.signal);
  const output = { hosts: hosts.map(hostOutput) };
  present(invocation, hostListOutputSchema, output, (value) => {
    if (value.hosts.length === 0) return ["no hosts"];
    const rows = value.hosts.map(({ name, connected, leaving, addresses, certificateEndsAt }) => [
      name,
      leaving ? "leaving" : connected ? "yes" : "no",
      addresses.join(" "),
      leaving ? "revoked" : formatEnd((Date.parse(certificateEndsAt) - nowMs) / 1_000),
    ]);
    return formatTable(["HOST", "CONNECTED", "SEEN FROM", "CERTIFICATE EXPIRES"], rows);
  });
  return exitCodes.ok;
}

/** Cuts it off at once: certificates void, connections closed, leases deleted. To be repeated if that fails. */
export async function removeHost(invocation: Invocation, name: string): Promise<ExitCode> {
  const { leases, sharedAddresses } = await openAdministrator(invocation).removeHost(name, invocation.signal);
  const output = { name, releasedLeases: [...leases], sharedAddresses: [...sharedAddresses] };
  present(invocation, hostRemoveOutputSchema, output, (value) => [
    `removed ${value.name} from the cluster: its certificates are revoked, its connections closed`,
    ...describeRemovedLeases({ leases: value.releasedLeases, sharedAddresses: value.sharedAddresses }),
  ]);
  return exitCodes.ok;
}

function hostOutput({ name, isConnected, isLeaving, addresses, joinedAtMs, certificateEndsAtMs }: Host): HostOutput {
  return {
    name,
    connected: isConnected,
    addresses: [...addresses],
    joinedAt: new Date(Number(joinedAtMs)).toISOString(),
    certificateEndsAt: new Date(Number(certificateEndsAtMs)).toISOString(),
    leaving: isLeaving,
  };
}

function formatEnd(seconds: number): string {
  return seconds <= 0 ? "expired" : `in ${formatDuration(seconds)}`;
}
