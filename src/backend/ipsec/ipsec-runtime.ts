// The running half of the ipsec backend: strongSwan's charon, kept by src/ipsec. Its code is loaded only by those who need it.
import type { NetworkConfig } from "../../config/network-config.ts";
import { describeError } from "../../errors.ts";
import type { CharonSupervisor, PeerStanding } from "../../ipsec/charon-supervisor.ts";
import type { IpsecState } from "../../ipsec/connection.ts";
import type {
  BackendRuntime,
  CleanUpResult,
  CleanUpServices,
  RuntimeFeatures,
  RuntimeServices,
  RuntimeStatus,
} from "../backend.ts";

export async function startIpsec({ logger, onChange }: RuntimeServices): Promise<BackendRuntime<IpsecState>> {
  const { CharonSupervisor } = await import("../../ipsec/charon-supervisor.ts");
  const supervisor = new CharonSupervisor({ logger, onChange });
  return {
    apply: (state, { isComplete }) => supervisor.apply({ ...state, isComplete }),
    problem: () => supervisor.problem,
    status: () => statusOf(supervisor),
    [Symbol.asyncDispose]: () => supervisor[Symbol.asyncDispose](),
  };
}

function statusOf(supervisor: CharonSupervisor): RuntimeStatus {
  const { version, isUserspace } = supervisor;
  return {
    ...(version !== undefined && { features: { encryption: isUserspace ? "charon" : "kernel", charon: version } }),
    carried: { ...supervisor.traffic.total() },
    dropped: {},
    peers: supervisor.standings.map((standing) => peerStatus(standing, supervisor)),
  };
}

function peerStatus(standing: PeerStanding, { traffic }: CharonSupervisor): RuntimeStatus["peers"][number] {
  const { peer, connection, state, associations, atMs, refusal } = standing;
  const carrying = associations.filter(({ children }) => children.length > 0);
  const children = carrying.flatMap((association) => association.children);
  const endpoint = carrying.at(-1)?.endpoint;
  const youngestSeconds = Math.min(...children.map(({ ageSeconds }) => ageSeconds));
  return {
    key: peer.key,
    ...traffic.of(connection),
    ...(endpoint !== undefined && { endpoint }),
    ...(children.length > 0 && { lastHandshakeAt: new Date(atMs - youngestSeconds * 1000).toISOString() }),
    association: refusal === undefined || state === "established" ? words(state, children) : `${state}: ${refusal}`,
  };
}

function words(
  state: PeerStanding["state"],
  children: readonly { readonly algorithm: string; readonly isInUdp: boolean }[],
) {
  const [child] = children;
  if (child === undefined) return state;
  return `${state}, ${child.algorithm}${child.isInUdp ? " in UDP" : ""}`;
}

export function describeIpsecFeatures({ encryption, charon }: RuntimeFeatures): string {
  const keys = `keys by charon (strongSwan ${String(charon)})`;
  return encryption === "kernel"
    ? `ESP of the kernel, ${keys}`
    : `ESP in user space (kernel-libipsec): this kernel has none; ${keys}`;
}

export async function cleanUpIpsec({ ipv4 }: NetworkConfig, { isDryRun }: CleanUpServices): Promise<CleanUpResult> {
  if (ipv4 === undefined) return { removed: [], failures: [] };
  const { cleanUpCharon } = await import("../../ipsec/clean-up-charon.ts");
  try {
    return { removed: await cleanUpCharon({ networks: [ipv4.network], isDryRun }), failures: [] };
  } catch (error) {
    return { removed: [], failures: [{ object: "flannel's connections of charon", error: describeError(error) }] };
  }
}
