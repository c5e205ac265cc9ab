// The peers of one device, one object for each host: what did not change is the same object in the next plan. Pure.
import type { HostWireguardPeer } from "../../host/kinds/wireguard-form.ts";
import type { WireguardReach } from "./wireguard-reaches.ts";

export type PresharedKey = Pick<HostWireguardPeer, "presharedKey" | "presharedKeyProblem">;

interface Known {
  readonly reaches: readonly WireguardReach[];
  readonly presharedKey: PresharedKey;
  readonly peer: HostWireguardPeer;
}

export class WireguardPeers {
  readonly #device: string;
  readonly #keepaliveSeconds: number;
  /** By the first reach of a host. */
  readonly #known = new WeakMap<WireguardReach, Known>();

  constructor(device: string, keepaliveSeconds: number) {
    this.#device = device;
    this.#keepaliveSeconds = keepaliveSeconds;
  }

  /** In the order in which their keys come first. The reaches of one key lead to one host. */
  of(reaches: readonly WireguardReach[], presharedKey: PresharedKey): readonly HostWireguardPeer[] {
    const byKey = Map.groupBy(reaches, ({ publicKey }) => publicKey);
    return [...byKey.values()].flatMap((group) => this.#peer(group, presharedKey));
  }

  #peer(reaches: readonly WireguardReach[], presharedKey: PresharedKey): HostWireguardPeer | [] {
    const [first] = reaches;
    if (first === undefined) return [];
    const known = this.#known.get(first);
    if (known !== undefined && isSame(known, reaches, presharedKey)) return known.peer;
    const { publicKey, publicIp, port } = first;
    const peer: HostWireguardPeer = {
      device: this.#device,
      publicKey,
      endpoint: { address: publicIp, port },
      keepaliveSeconds: this.#keepaliveSeconds,
      allowedIps: reaches.map(({ subnet }) => subnet),
      ...presharedKey,
    };
    this.#known.set(first, { reaches, presharedKey, peer });
    return peer;
  }
}

function isSame(known: Known, reaches: readonly WireguardReach[], { presharedKey, presharedKeyProblem }: PresharedKey) {
  return (
    known.presharedKey.presharedKey === presharedKey &&
    known.presharedKey.presharedKeyProblem === presharedKeyProblem &&
    known.reaches.length === reaches.length &&
    known.reaches.every((reach, index) => reach === reaches[index])
  );
}
