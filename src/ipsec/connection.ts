// What charon gets to know of a peer, in upstream's names and values, so that mixed networks work and a person finds what
// upstream's documents describe. Pure.
import { type Address, familyOf, type Prefix, tryParsePrefix } from "../ip/address.ts";
import { containsPrefix } from "../ip/prefix.ts";
import type { ViciFields } from "./vici-message.ts";

/** Identifies the security associations that our policies use; upstream's number. */
export const IPSEC_REQUEST_ID = 11;

/** All that charon has to know. */
export interface IpsecState {
  readonly network: Prefix;
  /** Of this host, where its packets leave and arrive. */
  readonly localAddress: Address;
  /** What this host announces; another one than `localAddress` behind NAT. */
  readonly publicIp: Address;
  readonly subnet: Prefix;
  /** Secret. */
  readonly presharedKey: string;
  readonly espProposal: string;
  readonly usesUdpEncapsulation: boolean;
  /** The kernel has no ESP: charon encrypts by itself and installs policies and routes of its own (kernel-libipsec). */
  readonly isUserspace: boolean;
  readonly peers: readonly IpsecPeer[];
}

/** As it is applied. */
export interface WantedIpsec extends IpsecState {
  /** Otherwise connections and keys of other peers stay: the store has not reported all yet. */
  readonly isComplete: boolean;
}

export interface IpsecPeer {
  /** Of its lease. */
  readonly key: string;
  readonly publicIp: Address;
  readonly subnet: Prefix;
}

/** IKE proposals of upstream; the peer takes one of them or nothing. */
const IKE_PROPOSAL = "aes256-sha256-modp4096";

export function connectionName({ publicIp, subnet }: IpsecState, peer: IpsecPeer): string {
  return `${publicIp}-${subnet}-${peer.subnet}-${peer.publicIp}`;
}

export function childName({ subnet }: IpsecState, peer: IpsecPeer): string {
  return `${subnet}-${peer.subnet}`;
}

/** Whether a connection of that name is one that this program or upstream made between subnets of these networks. */
export function isConnectionOf(name: string, networks: readonly Prefix[]): boolean {
  const [, subnet, peerSubnet] = /^[\d.]+-([\d.]+\/\d+)-([\d.]+\/\d+)-[\d.]+$/.exec(name) ?? [];
  const prefixes = [subnet, peerSubnet].map((text) => tryParsePrefix(text ?? ""));
  return networks.some((network) =>
    prefixes.every(
      (prefix) => prefix !== undefined && familyOf(prefix) === familyOf(network) && containsPrefix(network, prefix),
    ),
  );
}

/** The message of `load-conn`. */
export function connectionMessage(state: IpsecState, peer: IpsecPeer): ViciFields {
  const child: ViciFields = {
    local_ts: [state.subnet],
    remote_ts: [peer.subnet],
    esp_proposals: [state.espProposal],
    // Which host begins is decided by ipsec-runtime.ts: two that begin at once would have two associations.
    start_action: "none",
    close_action: state.isUserspace ? "none" : "trap",
    dpd_action: "restart",
    mode: "tunnel",
    // By its number charon's own ESP would take the association of any peer.
    reqid: state.isUserspace ? undefined : String(IPSEC_REQUEST_ID),
    rekey_time: "1h",
    // The kernel's policies are the agent's: they stay when charon ends.
    policies: state.isUserspace ? "yes" : "no",
  };
  return {
    [connectionName(state, peer)]: {
      local_addrs: [state.localAddress],
      remote_addrs: [peer.publicIp],
      proposals: [IKE_PROPOSAL],
      version: "2",
      encap: state.usesUdpEncapsulation ? "true" : "false",
      keyingtries: "0",
      rekey_time: "",
      local: { auth: "psk", id: "" },
      remote: { auth: "psk", id: "" },
      children: { [childName(state, peer)]: child },
    },
  };
}

/** The message of `load-shared`. Under its name a later one takes its place. */
export function sharedKeyMessage({ network, presharedKey }: IpsecState, owner: Address): ViciFields {
  return { id: `${sharedKeyPrefix(network)}${owner}`, type: "IKE", data: presharedKey, owners: [owner] };
}

/** Networks of one host have keys of their own. */
export function sharedKeyPrefix(network: Prefix): string {
  return `flannel-${network}-`;
}

/** Whose keys charon has to know: this host's and its peers'. */
export function keyOwners({ localAddress, publicIp, peers }: IpsecState): readonly Address[] {
  return [...new Set([localAddress, publicIp, ...peers.map((peer) => peer.publicIp)])];
}
