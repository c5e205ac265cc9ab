// The running half of the udp backend: the tunnel's packet thread. Its code is loaded only by those who need it.
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import type { TunnelStatus } from "../../tunnel/tunnel.ts";
import type { TunnelState } from "../../tunnel/tunnel-state.ts";
import type { BackendRuntime, RuntimeFeatures, RuntimeServices } from "../backend.ts";

export async function startUdp(services: RuntimeServices): Promise<BackendRuntime<TunnelState>> {
  const { logger, descriptorStore, onChange } = services;
  const { Tunnel } = await import("../../tunnel/tunnel.ts");
  const tunnel = new Tunnel({ logger, descriptorStore, onChange });
  return {
    apply: (state) => tunnel.setState(state),
    problem: () => tunnel.problem,
    handOver: async () => [await tunnel.handOver()],
    status: () => {
      const { features, carried, dropped, peers } = tunnel.status();
      return { ...(features !== undefined && { features: { ...features } }), carried, dropped, peers };
    },
    recordMetrics: (metrics) => recordTunnel(metrics, tunnel.status()),
    [Symbol.asyncDispose]: () => tunnel[Symbol.asyncDispose](),
  };
}

function recordTunnel(metrics: MetricsRecorder, { carried, dropped }: TunnelStatus): void {
  const sent = { direction: "sent" };
  const received = { direction: "received" };
  metrics.total("flannel_udp_packets_total", sent, carried.sentPackets);
  metrics.total("flannel_udp_packets_total", received, carried.receivedPackets);
  metrics.total("flannel_udp_bytes_total", sent, carried.sentBytes);
  metrics.total("flannel_udp_bytes_total", received, carried.receivedBytes);
  metrics.total("flannel_udp_datagram_batches_total", sent, carried.sentDatagramBatches);
  metrics.total("flannel_udp_datagram_batches_total", received, carried.receivedDatagramBatches);
  metrics.total("flannel_udp_icmp_errors_total", {}, carried.icmpErrorsSent);
  for (const [reason, packets] of Object.entries(dropped)) {
    metrics.total("flannel_udp_dropped_packets_total", { reason }, packets);
  }
}

/** Starts the thread; should it fail, the tunnel starts one of its own when its turn comes, and says what is wrong. */
export function warmUpUdp(): void {
  import("../../tunnel/packet-thread.ts")
    .then(({ preparePacketThread }) => preparePacketThread())
    .catch(() => undefined);
}

export function describeUdpFeatures(features: RuntimeFeatures): string {
  const { deviceOffload, udpSegmentation, udpReceiveJoining } = features;
  const offloads = [
    deviceOffload === undefined || deviceOffload === "none" ? [] : [`${deviceOffload} segments of the device`],
    udpSegmentation === true ? ["UDP segmentation"] : [],
    udpReceiveJoining === true ? ["receive offload (GRO)"] : [],
  ].flat();
  return offloads.length === 0 ? "no offloads" : `with ${offloads.join(", ")}`;
}
