// Why something is as it is on this host: which lease an address, a subnet or a kernel object belongs to, what there is because of
// it, and what the journal says.
import type { Finding } from "../../doctor/finding.ts";
import { desiredOf, type HostState } from "../../host/kinds/host-state.ts";
import { hostKinds } from "../../host/kinds/kinds.ts";
import { prefixLength, tryParseAddress, tryParsePrefix } from "../../ip/address.ts";
import { containsPrefix } from "../../ip/prefix.ts";
import { type Lease, type OwnLease, prefixesOf } from "../../lease/lease.ts";
import type { JournalEntry } from "../../telemetry/journal.ts";
import type { Why } from "../control/journal-protocol.ts";
import type { Agent } from "./agent.ts";
import type { Network } from "./network.ts";
import { describeLease } from "./network-status.ts";
import { listPeers } from "./peer-list.ts";

const MAX_OBJECTS = 100;
const MAX_ENTRIES = 50;

type Explanation = Omit<Why["networks"][number], "name">;

/** `of`: an address, a prefix, the key of a lease, or part of the line of a kernel object. */
export function explain(
  agent: Agent,
  of: string,
  known: { readonly findings: readonly Finding[]; readonly entries: readonly JournalEntry[] },
): Explanation {
  const { network, ownLease, table, config } = agent;
  const leases: readonly Lease[] = ownLease === undefined ? table.peers() : [ownLease, ...table.peers()];
  const lease = leaseOf(leases, of);
  const isOwn = lease !== undefined && lease.key === ownLease?.key;
  const peer = isOwn || lease === undefined ? undefined : listPeers(agent).find(({ key }) => key === lease.key);
  const objects = network === undefined ? [] : objectsOf(network, ownLease, isOwn ? undefined : lease, of);
  const names = lease === undefined ? [of] : [of, lease.key, ...prefixesOf(lease)];
  const isAbout = (text: string) => names.some((name) => mentions(text, name));
  return {
    ...(lease !== undefined && {
      lease: {
        ...describeLease(lease, isOwn ? agent.leaseExpiresAtMs : undefined),
        isOwn,
        revision: String(lease.revision),
      },
    }),
    ...(peer !== undefined && { peer }),
    ...(config !== undefined && { backendType: config.backendType }),
    objects: objects.slice(0, MAX_OBJECTS),
    findings: known.findings
      .filter(({ evidence }) => isAbout(evidence))
      .map(({ name, evidence }) => `${name}: ${evidence}`),
    entries: known.entries
      .filter(
        ({ message, fields }) => isAbout(message) || Object.values(fields).some((value) => isAbout(String(value))),
      )
      .slice(-MAX_ENTRIES)
      .map((entry) => ({ ...entry, cause: entry.cause }) as Explanation["entries"][number]),
  };
}

/** The one with the longest prefix around it. */
function leaseOf(leases: readonly Lease[], of: string): Lease | undefined {
  const byKey = leases.find(({ key }) => key === of);
  const address = tryParseAddress(of);
  const prefix = tryParsePrefix(address === undefined ? of : `${address}/${address.includes(":") ? 128 : 32}`);
  if (byKey !== undefined || prefix === undefined) return byKey;
  const around = leases.flatMap((lease) =>
    prefixesOf(lease).flatMap((subnet) =>
      containsPrefix(subnet, prefix) ? [{ lease, length: prefixLength(subnet) }] : [],
    ),
  );
  const [best] = around.toSorted((a, b) => b.length - a.length);
  // A host is asked about by its own address, too.
  return (
    best?.lease ?? leases.find(({ attributes: { publicIp, publicIpv6 } }) => [publicIp, publicIpv6].includes(address))
  );
}

/** What the plan has because of the lease; without one, every object whose line has the text. */
function objectsOf(network: Network, own: OwnLease | undefined, lease: Lease | undefined, of: string) {
  if (own !== undefined && lease !== undefined) {
    const without = new Set(
      describeAll(network, network.backend.plan(own, [], network.facts).state).map(({ id }) => id),
    );
    const mine = describeAll(network, network.backend.plan(own, [lease], network.facts).state);
    return mine.filter(({ id }) => !without.has(id)).map(({ id: _, ...object }) => object);
  }
  const all = describeAll(network, network.plan.state);
  return all.filter(({ object }) => mentions(object, of)).map(({ id: _, ...object }) => object);
}

function describeAll(network: Network, state: HostState) {
  const ownDevices = new Set((network.plan.state.link ?? []).map(({ name }) => name));
  const failures = new Map(network.hostFailures.map(({ object, error }) => [object, error]));
  return hostKinds.flatMap((kind) =>
    desiredOf(state, kind).map((desired) => {
      const object = kind.line(desired, ownDevices);
      const key = kind.key(desired);
      const error = failures.get(object);
      const programmed = network.reconciler.isProgrammed(kind, key);
      return { id: `${kind.name} ${key}`, object, programmed, ...(error !== undefined && { error }) };
    }),
  );
}

/** As a whole word: 10.5.1.0 is not in 10.5.1.01 or 110.5.1.0. */
function mentions(text: string, name: string): boolean {
  for (let at = text.indexOf(name); at >= 0 && name !== ""; at = text.indexOf(name, at + 1)) {
    const [before = " ", after = " "] = [text[at - 1], text[at + name.length]];
    if (!/[\w.:]/.test(before) && !/[\w:]/.test(after)) return true;
  }
  return false;
}
