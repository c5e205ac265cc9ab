// What is said about the network configuration in the store: each piece of news once in the log, and in the status for as
// long as the store holds something else than what is in force.
import type { NetworkConfig } from "../../config/network-config.ts";
import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import type { Logger } from "../../telemetry/logger.ts";

export class ConfigNews {
  readonly #logger: Logger;
  #finding: Finding | undefined;
  /** The last wrong configuration to begin with: it is read again and again. */
  #invalid = "";

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** At most one. */
  get findings(): Finding[] {
    return this.#finding === undefined ? [] : [this.#finding];
  }

  read({ backendType, ipv4, ipv6 }: NetworkConfig): void {
    this.#finding = undefined;
    this.#invalid = "";
    const networks = { network: ipv4?.network, ipv6Network: ipv6?.network };
    this.#logger.info("config.read", `read the network configuration: backend ${backendType}`, networks);
  }

  /** There is none in force yet. */
  invalid(error: unknown): void {
    const reason = describeError(error);
    if (reason === this.#invalid) return;
    this.#invalid = reason;
    const message = "the network configuration is wrong: waiting until it is corrected";
    this.#logger.error("config.invalid", message, { error: reason });
    this.#found("error", `${message}: ${reason}`, "flannelctl config set, which checks before it writes");
  }

  odd(path: string, message: string): void {
    this.#logger.warn("config.odd", message, { key: path });
  }

  deleted(): void {
    const message = "the network configuration was deleted: continuing with the last one";
    this.#logger.warn("config.deleted", message);
    this.#found("warning", message, "flannelctl config set: a host that starts now has no configuration");
  }

  rejected(error: unknown): void {
    const message = "the new network configuration is invalid: continuing with the last one";
    this.#logger.error("config.rejected", message, { error: describeError(error) });
    this.#found("error", `${message}: ${describeError(error)}`, "flannelctl config set, which checks before it writes");
  }

  applied(keys: readonly string[]): void {
    this.#logger.info("config.applied", `applied the changed network configuration: ${keys.join(", ")}`, { keys });
  }

  restartingFor(keys: readonly string[]): void {
    this.#logger.warn(
      "config.changed",
      "the network configuration is another one before the agent has a lease by it: restarting with the new one",
      { keys },
    );
  }

  /** None: what the store holds is in force. */
  restartNeeded(keys: readonly string[]): void {
    this.#finding = undefined;
    if (keys.length === 0) return;
    const message = `restart needed: ${keys.join(", ")} changed, which a running agent cannot apply`;
    this.#logger.warn("config.restart-needed", message, { keys });
    this.#found("warning", message, "restart flanneld on every host");
  }

  #found(severity: Finding["severity"], evidence: string, remedy: string): void {
    this.#finding = { name: "configuration", severity, evidence, remedy };
  }
}
