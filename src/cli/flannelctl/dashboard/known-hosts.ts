// The other hosts of all networks, as this host's agent knows them, else as the store has them: whom the dashboard may ask.
import type { LeaseItem } from "../../../dashboard/messages.ts";
import type { AgentLooks } from "./agent-looks.ts";
import type { MatrixHost } from "./sightings.ts";

/** With the address at which its agent is asked for. */
export interface OtherHost {
  readonly address: string;
  /** Keys, of all networks. */
  readonly leases: readonly string[];
  readonly isInTrouble: boolean;
}

export interface KnownHosts {
  /** By network, in the order of their keys, this host's own lease among them. */
  readonly networks: ReadonlyMap<string, readonly MatrixHost[]>;
  readonly others: readonly OtherHost[];
}

const byName = new Intl.Collator("en", { numeric: true });
const fine: ReadonlySet<string> = new Set(["up", "programmed", "slow"]);

interface Known extends MatrixHost {
  readonly isOwn: boolean;
  readonly isInTrouble: boolean;
}

/** `stored`: leases by network, of the last look at the store. */
export function knownHosts(agent: AgentLooks, stored: ReadonlyMap<string, readonly LeaseItem[]>): KnownHosts {
  const names = new Set([...(agent.status?.networks ?? []).map(({ name }) => name), ...stored.keys()]);
  const networks = new Map<string, readonly MatrixHost[]>();
  const others = new Map<string, OtherHost>();
  for (const name of names) {
    const known = ofAgent(agent, name) ?? (stored.get(name) ?? []).flatMap(ofStore);
    networks.set(
      name,
      known.map(({ isOwn: _, isInTrouble: __, ...host }) => host).sort((a, b) => byName.compare(a.key, b.key)),
    );
    for (const { key, address, isOwn, isInTrouble } of known) {
      if (isOwn || address === undefined) continue;
      const before = others.get(address);
      others.set(address, {
        address,
        leases: [...(before?.leases ?? []), key],
        isInTrouble: isInTrouble || before?.isInTrouble === true,
      });
    }
  }
  return { networks, others: [...others.values()] };
}

function ofAgent({ status, peers }: AgentLooks, name: string): Known[] | undefined {
  const network = status?.networks.find((one) => one.name === name);
  if (network === undefined) return undefined;
  const { lease } = network;
  const address = lease?.publicIp ?? lease?.publicIpv6;
  const own = lease === undefined ? [] : [{ ...hostOf(lease.key, address), isOwn: true, isInTrouble: false }];
  const others = peers.find((one) => one.name === name)?.peers ?? [];
  return [
    ...own,
    ...others.map(({ key, publicIp, publicIpv6, changedAt, state }) => ({
      ...hostOf(key, publicIp ?? publicIpv6),
      ...(changedAt !== undefined && { changedAtMs: Date.parse(changedAt) }),
      isOwn: false,
      isInTrouble: !fine.has(state),
    })),
  ];
}

/** A reservation has no host. */
function ofStore({ key, host, isOwn }: LeaseItem): Known[] {
  return host === undefined ? [] : [{ ...hostOf(key, host), isOwn, isInTrouble: false }];
}

function hostOf(key: string, address: string | undefined): MatrixHost {
  return { key, ...(address !== undefined && { address }) };
}
