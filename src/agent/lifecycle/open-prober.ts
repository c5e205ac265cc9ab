// The prober of this process, with real sockets and clocks. All networks of the host share it, and its budget.
import { PROBE_MARK } from "../../probe/probe-payload.ts";
import { Prober } from "../../probe/prober.ts";
import { askByTcp } from "../../probe/tcp-witness.ts";
import { hearTraffic } from "../../probe/traffic-witness.ts";
import { EchoSocket } from "../../sys/echo-socket.ts";

/** Undefined when probes are turned off. Sockets are opened with the first peer of their family. */
export function openProber(intervalMs: number): Prober | undefined {
  if (intervalMs === 0) return undefined;
  return new Prober({
    intervalMs,
    openPort: (family) => EchoSocket.open(family, PROBE_MARK),
    askByTcp,
    hearTraffic,
    monotonicMs: () => performance.now(),
    wallMs: Date.now,
    random: Math.random,
  });
}
