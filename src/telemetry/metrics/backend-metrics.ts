// Metrics of what backends carry themselves, and of their peers.
import { counter, gauge, perPeer } from "./definition.ts";

export const backendMetrics = {
  flannel_backend_info: gauge("Always 1; the label names the backend in use.", ["backend"]),
  flannel_data_plane_problem: gauge(
    "1 while the backend's own data plane carries no packets of a family, else 0; missing where the kernel carries all.",
  ),

  flannel_cloud_looks_total: counter(
    "Looks at the cloud's route tables, by result: done, unlisted (a route was accepted and is not listed yet), failed.",
    ["result"],
  ),
  flannel_cloud_repairs_total: counter("This host's routes in the cloud that others changed and the agent set again."),
  flannel_cloud_table_routes: gauge("Routes in the fullest of this host's route tables in the cloud."),
  flannel_cloud_tables_full: gauge("Route tables in the cloud that have no room for this host's route."),
  flannel_cloud_tables_in_place: gauge("Route tables in the cloud that lead this host's subnet to it."),

  flannel_udp_packets_total: counter("Packets that the udp backend forwarded, by direction: sent, received.", [
    "direction",
  ]),
  flannel_udp_bytes_total: counter("Bytes of these packets.", ["direction"], "bytes"),
  flannel_udp_datagram_batches_total: counter("Batches of datagrams that held these packets.", ["direction"]),
  flannel_udp_icmp_errors_total: counter("ICMP errors that the udp backend sent."),
  flannel_udp_dropped_packets_total: counter(
    "Packets that the udp backend dropped, by reason; flannelctl status has the same reasons.",
    ["reason"],
  ),

  flannel_peer_receive_bytes_total: perPeer(
    counter("Bytes received from a peer, as the backend counts them (udp, wireguard, ipsec).", ["peer"], "bytes"),
  ),
  flannel_peer_transmit_bytes_total: perPeer(
    counter("Bytes sent to a peer, as the backend counts them (udp, wireguard, ipsec).", ["peer"], "bytes"),
  ),
  flannel_peer_last_handshake_timestamp_seconds: perPeer(
    gauge(
      "When the last handshake with a peer was (wireguard), or when its keys were negotiated (ipsec), as Unix time.",
      ["peer"],
      "seconds",
    ),
  ),
};
