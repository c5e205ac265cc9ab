// What a shortage of file descriptors means for this agent.
import type { Finding } from "../../doctor/finding.ts";
import type { DescriptorShortage } from "../../sys/spare-descriptors.ts";
import type { Logger } from "../../telemetry/logger.ts";

export function descriptorFindings(shortage: DescriptorShortage | undefined): Finding[] {
  if (shortage === undefined) return [];
  return [
    {
      name: "process-limits",
      severity: "error",
      evidence: `flanneld has nearly no file descriptor left${usage(shortage)}: it uses its reserve`,
      remedy: `raise the limit (LimitNOFILE= of the unit; now: prlimit --pid ${process.pid} --nofile=65536), or find what holds them: ls -l /proc/${process.pid}/fd`,
    },
  ];
}

function usage({ used, limit }: DescriptorShortage): string {
  return used === undefined || limit === undefined ? "" : ` (${used} of ${limit} in use)`;
}

/** Says once that a shortage began, and once that it is over. */
export class DescriptorNews {
  readonly #logger: Logger;
  #wasShort = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  take(shortage: DescriptorShortage | undefined): void {
    const [finding] = descriptorFindings(shortage);
    const isShort = finding !== undefined;
    if (isShort === this.#wasShort) return;
    this.#wasShort = isShort;
    if (isShort) this.#logger.error("descriptors.short", finding.evidence, { remedy: finding.remedy });
    else this.#logger.info("descriptors.enough", "there are enough file descriptors again");
  }
}
