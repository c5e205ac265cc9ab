// Measures requests to the store: how long they took, how they failed.
import { FlannelError, isCancelled } from "../../errors.ts";
import type { MetricsRecorder } from "../../telemetry/metrics/metrics.ts";

export type StoreOperation = "config" | "acquire" | "renew";

/** Does the request. One that was cancelled counts nowhere. */
export async function measured<T>(
  metrics: MetricsRecorder | undefined,
  operation: StoreOperation,
  request: () => Promise<T>,
): Promise<T> {
  const startMs = performance.now();
  try {
    const result = await request();
    metrics?.observe("flannel_store_request_duration_seconds", { operation }, (performance.now() - startMs) / 1_000);
    return result;
  } catch (error) {
    const code = error instanceof FlannelError ? error.code : "INTERNAL";
    if (!isCancelled(error)) metrics?.count("flannel_store_request_errors_total", { operation, code });
    throw error;
  }
}
