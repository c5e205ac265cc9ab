// The CNI configuration of this host (`--cni-conf-file`), written when packets can flow and not before: a kubelet calls its
// node Ready as soon as the file is there. It follows the subnet, the MTU and the template, and outlives the agent.
import { rmSync } from "node:fs";
import { LatestOnly } from "../../async/latest-only.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError } from "../../errors.ts";
import { defaultCniTemplate, renderCniConflist } from "../../lease/cni-conflist.ts";
import type { SubnetEnvContent } from "../../lease/subnet-env.ts";
import { fileVersion, readSmallFile, writeFileAtomically } from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** A template has some hundred bytes. */
const MAX_TEMPLATE_BYTES = 256 * 1024;

type CniOptions = NonNullable<AgentOptions["cni"]>;

export class CniFile implements AsyncDisposable {
  readonly #options: CniOptions;
  readonly #logger: Logger;
  readonly #file = new LatestOnly(() => this.#write());
  #content: SubnetEnvContent | undefined;
  #wantedKey = "";
  #writtenKey = "";
  #failure = "";

  /** `subnetFile`: of this agent; it lies in /run, so that it is missing after a boot, whatever the clock says. */
  constructor(options: CniOptions, subnetFile: string, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
    if (versionOf(subnetFile) === "") this.#withdraw(subnetFile);
  }

  /** `content`: what this host's containers have to know; undefined while packets cannot flow. Cheap when nothing changed. */
  follow(content: SubnetEnvContent | undefined): void {
    if (content === undefined) return;
    this.#content = content;
    const { config, subnets, mtuBytes, ipv6MtuBytes, ipMasq } = content;
    const networks = [config.ipv4?.network, config.ipv6?.network, subnets.subnet, subnets.ipv6Subnet];
    this.#wantedKey = [...networks, mtuBytes, ipv6MtuBytes, ipMasq, versionOf(this.#options.template)].join(" ");
    const isThere = versionOf(this.#options.file) !== "";
    if (this.#wantedKey !== this.#writtenKey || !isThere) this.#file.request();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }

  /** What a file of an earlier boot says, that pods can start, is not true yet. */
  #withdraw(subnetFile: string): void {
    const { file } = this.#options;
    try {
      rmSync(file);
      const message = `removed ${file} until the network is ready: there is no ${subnetFile}, as after a boot`;
      this.#logger.info("cni-conf.withdrawn", message, { file });
    } catch {
      // None is there, which is as well; what cannot be removed will show when it is written.
    }
  }

  async #write(): Promise<void> {
    const { file, template } = this.#options;
    const [content, key] = [this.#content, this.#wantedKey];
    if (content === undefined) return;
    try {
      const text = template === "" ? defaultCniTemplate : readSmallFile(template, MAX_TEMPLATE_BYTES);
      const isNew = await writeFileAtomically(file, renderCniConflist(text, content));
      this.#writtenKey = key;
      this.#failure = "";
      if (isNew)
        this.#logger.info("cni-conf.written", `wrote the CNI configuration ${file}: pods can be started`, { file });
    } catch (error) {
      const reason = describeError(error);
      if (reason === this.#failure) return;
      this.#failure = reason;
      this.#logger.error("cni-conf.failed", `cannot write the CNI configuration ${file}; retrying`, { error: reason });
    }
  }
}

function versionOf(path: string): string {
  return path === "" ? "" : fileVersion(path);
}
