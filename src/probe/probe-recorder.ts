// The port through which the prober counts what concerns one network.
import type { MetricsRecorder } from "../telemetry/metrics/metrics.ts";
import type { ProbeKind } from "./probe-path.ts";

export interface ProbeRecorder {
  sent(kind: ProbeKind): void;
  answered(kind: ProbeKind, rttMs: number, isLate: boolean): void;
  lost(kind: ProbeKind): void;
  /** A round that is not judged. */
  discarded(): void;
}

export function recordProbes(metrics: MetricsRecorder): ProbeRecorder {
  return {
    sent: (kind) => metrics.count("flannel_probe_sent_total", { kind }),
    answered: (kind, rttMs, isLate) => {
      metrics.observe("flannel_probe_rtt_seconds", { kind }, rttMs / 1_000);
      if (isLate) metrics.count("flannel_probe_late_total", { kind });
    },
    lost: (kind) => metrics.count("flannel_probe_lost_total", { kind }),
    discarded: () => metrics.count("flannel_probe_rounds_discarded_total", {}),
  };
}
