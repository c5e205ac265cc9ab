// Serves the metrics on `--metrics-addr`. An address that cannot be had is no reason to carry no packets: it is said once, and
// tried again.
import { clearTimeout, setTimeout } from "node:timers";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError } from "../../errors.ts";
import type { AgentLogger } from "../../telemetry/create-logger.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AgentMetricsRecorder, MetricFamily } from "../../telemetry/metrics/metrics.ts";
import { MetricsServer, type MetricsServerOptions, type MetricsText } from "../control/metrics-server.ts";

const RETRY_MS = 5_000;

type Endpoint = NonNullable<AgentOptions["metrics"]["address"]>;

/** Counts the lines of the log until it is disposed. */
export function countEvents(logger: AgentLogger, metrics: AgentMetricsRecorder): Disposable {
  return logger.follow(({ level }) => {
    if (level !== "verbose") metrics.count("flannel_events_total", { level });
  });
}

/** `retrying`: the address could not be had. `closed` is the last one. */
type Phase =
  | { readonly name: "opening" | "closed" }
  | { readonly name: "serving"; readonly server: MetricsServer }
  | { readonly name: "retrying"; readonly timer: NodeJS.Timeout };

export class MetricsEndpoint implements AsyncDisposable {
  readonly #address: Endpoint;
  readonly #read: () => readonly MetricFamily[];
  readonly #logger: Logger;
  #phase: Phase = { name: "opening" };
  /** The last attempt, which may be over. */
  #opening: Promise<void>;
  #problem: string | undefined;

  private constructor(address: Endpoint, read: () => readonly MetricFamily[], logger: Logger) {
    this.#address = address;
    this.#read = read;
    this.#logger = logger;
    this.#opening = this.#open();
  }

  /** Undefined when nobody asked for it. `read`: the metrics as of now. */
  static start(
    { metrics }: AgentOptions,
    read: () => readonly MetricFamily[],
    logger: Logger,
  ): MetricsEndpoint | undefined {
    return metrics.address === undefined ? undefined : new MetricsEndpoint(metrics.address, read, logger);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const phase = this.#phase;
    this.#phase = { name: "closed" };
    if (phase.name === "retrying") clearTimeout(phase.timer);
    await this.#opening;
    if (phase.name === "serving") await phase.server[Symbol.asyncDispose]();
  }

  /** Never rejects. */
  async #open(): Promise<void> {
    const { host, port } = this.#address;
    const where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    try {
      const server = await openServer({ host, port, read: () => this.#text() });
      if (this.#phase.name === "closed") {
        await server[Symbol.asyncDispose]();
        return;
      }
      this.#phase = { name: "serving", server };
      this.#logger.info("metrics.serving", `serving metrics on http://${where}/metrics`);
    } catch (error) {
      this.#warn(`cannot serve metrics on ${where}: ${describeError(error)}; retrying`);
      if (this.#phase.name === "closed") return;
      this.#phase = { name: "retrying", timer: setTimeout(() => this.#openAgain(), RETRY_MS).unref() };
    }
  }

  #openAgain(): void {
    this.#phase = { name: "opening" };
    this.#opening = this.#open();
  }

  async #text(): Promise<MetricsText> {
    try {
      const { prometheusContentType, prometheusText } = await import("../../telemetry/metrics/prometheus-text.ts");
      return { contentType: prometheusContentType, text: await prometheusText(this.#read()) };
    } catch (error) {
      this.#warn(`cannot read the metrics: ${describeError(error)}`);
      throw error;
    }
  }

  #warn(problem: string): void {
    if (problem !== this.#problem) this.#logger.error("metrics.failed", problem);
    this.#problem = problem;
  }
}

/** On a host without IPv6, all addresses are those of IPv4. */
async function openServer(options: MetricsServerOptions): Promise<MetricsServer> {
  try {
    return await MetricsServer.open(options);
  } catch (error) {
    if (options.host !== "::" || !(error instanceof Error && "code" in error)) throw error;
    if (error.code !== "EAFNOSUPPORT" && error.code !== "EADDRNOTAVAIL") throw error;
    return await MetricsServer.open({ ...options, host: "0.0.0.0" });
  }
}
