// Metrics about probes of peers.
import { counter, durations, gauge, perPeer } from "./definition.ts";

export const probeMetrics = {
  flannel_peers: gauge("Peers by what probes found: up, slow, mtuBroken, suspect, oneWay, down, unknown.", ["state"]),
  flannel_probe_sent_total: counter("Probes sent to peers, by kind: underlay, tunnel, bridge.", ["kind"]),
  flannel_probe_lost_total: counter("Probes without an answer in time, by kind.", ["kind"]),
  flannel_probe_late_total: counter("Answers to probes that had been counted as lost, by kind.", ["kind"]),
  flannel_probe_rtt_seconds: durations(
    "Round trip of probes, by kind.",
    ["kind"],
    [0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5],
  ),
  flannel_path_mtu_min_bytes: gauge(
    "Largest packet of containers that the narrowest path to a peer carries without fragments; missing before one is known.",
    [],
    "bytes",
  ),
  flannel_peers_mtu_reduced: gauge("Peers whose path carries less than the MTU of the network without fragments."),
  flannel_probe_rounds_discarded_total: counter(
    "Rounds of probes that were not judged, because the agent got no processor time or was flooded.",
  ),
  flannel_peer_up: perPeer(
    gauge(
      "1 while a peer is up, slow or mtuBroken, 0 while it is suspect, down or reached one way; missing while unknown.",
      ["peer"],
    ),
  ),
  flannel_peer_rtt_seconds: perPeer(gauge("Median round trip of the last 64 probes.", ["peer"], "seconds")),
  flannel_peer_loss_ratio: perPeer(gauge("Lost ones of the last 64 probes, from 0 to 1.", ["peer"], "ratio")),
};
