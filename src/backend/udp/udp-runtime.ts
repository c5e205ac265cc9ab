// The running half of the udp backend: the tunnel's packet thread. Its code is loaded only by those who need it.
import type { TunnelState } from "../../tunnel/tunnel-state.ts";
import type { BackendRuntime, RuntimeFeatures, RuntimeServices } from "../backend.ts";

export async function startUdp(services: RuntimeServices): Promise<BackendRuntime<TunnelState>> {
  const { logger, descriptorKeeper: keeper, onChange } = services;
  const { Tunnel } = await import("../../tunnel/tunnel.ts");
  const tunnel = new Tunnel({ logger, keeper, onChange });
  return {
    apply: (state) => tunnel.setState(state),
    problem: () => tunnel.problem,
    status: () => {
      const { features, carried, dropped, peers } = tunnel.status();
      return { ...(features !== undefined && { features: { ...features } }), carried, dropped, peers };
    },
    [Symbol.asyncDispose]: () => tunnel[Symbol.asyncDispose](),
  };
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
    udpReceiveJoining === true ? ["joined reception"] : [],
  ].flat();
  return offloads.length === 0 ? "no offloads" : `with ${offloads.join(", ")}`;
}
