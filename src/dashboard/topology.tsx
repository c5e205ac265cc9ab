// The topology as this host's routes have it: containers, device, external interface, hosts behind.
import { useMemo } from "preact/hooks";
import { count } from "../terminal/text.ts";
import type { AgentItem, NetworkItem } from "./messages.ts";
import type { NetworkModel } from "./model.ts";
import { Section } from "./parts.tsx";
import { type Lane, lanesOf, type PeerGroup } from "./topology-lanes.ts";
import { countStates, describeCounts, describePeer, peerStates } from "./words.ts";

interface TopologyProps {
  readonly agent: AgentItem | undefined;
  readonly network: NetworkModel;
  /** Of `network.peers`, which stays the same object. */
  readonly version: number;
}

const MAX_CHIPS = 12;

export function Topology({ agent, network, version }: TopologyProps) {
  const lanes = useMemo(() => lanesOf(network.peers.values()), [network.peers, version]);
  const { about } = network;
  if (about === undefined) return null;
  return (
    <Section id="topology" title="Topology" note={<p class="note">from the routes of this host</p>}>
      <div class="topology">
        <div class="node own">
          <strong>{agent?.host ?? "this host"}</strong>
          <span>containers {about.ownSubnets.join(", ") || "without a lease"}</span>
        </div>
        {lanes.length === 0 ? (
          <p>No other host has a lease.</p>
        ) : (
          <ul class="lanes">
            {lanes.map((lane) => (
              <LaneOf key={lane.device ?? ""} lane={lane} about={about} />
            ))}
          </ul>
        )}
      </div>
    </Section>
  );
}

function LaneOf({ lane: { device, groups }, about }: { readonly lane: Lane; readonly about: NetworkItem }) {
  const { externalInterface: external, backendType, mtuBytes } = about;
  const isDirect = device !== undefined && device === external?.name;
  return (
    <li>
      {device === undefined ? (
        <div class="node none">
          <strong>no route</strong>
          <span>not in this host's plan yet, or not served</span>
        </div>
      ) : (
        <div class="node">
          <strong>{device}</strong>
          <span>
            {isDirect ? "without a tunnel" : `${backendType ?? "backend unknown"}, MTU ${mtuBytes ?? "unknown"}`}
          </span>
        </div>
      )}
      {device !== undefined && !isDirect && external !== undefined && (
        <div class="node">
          <strong>{external.name}</strong>
          <span>
            {external.addresses.join(", ")}, MTU {external.mtuBytes}
          </span>
        </div>
      )}
      <ul class="groups">
        {groups.map((group) => (
          <GroupOf key={group.network ?? ""} group={group} />
        ))}
      </ul>
    </li>
  );
}

function GroupOf({ group: { network, networks, peers } }: { readonly group: PeerGroup }) {
  const [first] = peers;
  const tone = first === undefined ? "none" : peerStates[first.state].tone;
  const name = network ?? (networks > 1 ? `${networks} other networks` : "hosts without an address");
  return (
    <li class={`node tone-${tone}`}>
      <strong>{name}</strong>
      <span>{describeCounts(countStates(peers))}</span>
      <ul class="chips">
        {peers.slice(0, MAX_CHIPS).map((peer) => (
          <li key={peer.key} class={`chip ${peerStates[peer.state].tone}`} title={describePeer(peer)}>
            <span aria-hidden="true">{peerStates[peer.state].glyph}</span> {peer.host ?? peer.key}
          </li>
        ))}
        {peers.length > MAX_CHIPS && <li class="chip">and {count(peers.length - MAX_CHIPS, "more peer")}</li>}
      </ul>
    </li>
  );
}
