// `flannelctl peers`: the other hosts of the network, one line each.
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { peersSchema } from "../../../agent/control/journal-protocol.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { askAgent } from "../session/control-client.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { peersOutputSchema } from "../session/json-output.ts";
import { ofNamedNetwork } from "../session/one-network.ts";
import { renderNetworks } from "../session/render-networks.ts";
import { type PeerOrder, peerTable, sortPeers } from "./peers-view.ts";

export interface PeersOptions {
  readonly wide: boolean;
  readonly sort: PeerOrder;
}

export const peersRequest = { method: "GET", path: controlPaths.peers, schema: peersSchema } as const;

/** 0 also when peers are down: `status` and `doctor` judge. */
export async function showPeers(invocation: Invocation, { wide, sort }: PeersOptions): Promise<ExitCode> {
  const answer = await askAgent(invocation.options.socketPaths, peersRequest, invocation.signal);
  const { networks } = ofNamedNetwork(answer, invocation.options);
  const sorted = networks.map(({ name, peers }) => ({ name, peers: sortPeers(peers, sort) }));
  const nowMs = invocation.terminal.nowMs();
  present(invocation, peersOutputSchema, { networks: sorted }, (shown, paint) =>
    renderNetworks(shown.networks, ({ peers }) =>
      peers.length === 0 ? ["no other host has a lease"] : peerTable(peers, paint, { wide, nowMs }),
    ),
  );
  return exitCodes.ok;
}
