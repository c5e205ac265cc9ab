// The CNI configuration of this host (`--cni-conf-file`), written when packets can flow and not before: a kubelet calls its
// node Ready as soon as the file is there. It follows the subnet, the MTU and the template, and outlives the agent. A boot
// takes it away where `--cni-boot-file` has systemd do so, or where it is a link to a file in /run (`--cni-conf-target`).
import { rmSync } from "node:fs";
import { LatestOnly } from "../../async/latest-only.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { defaultCniTemplate, renderCniConflist } from "../../lease/cni-conflist.ts";
import type { SubnetEnvContent } from "../../lease/subnet-env.ts";
import { fileVersion, readSmallFile, writeFileAtomically } from "../../sys/files.ts";
import { linkTarget, replaceLink } from "../../sys/links.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { CniBootFile, forgetBootFile } from "./cni-boot-file.ts";

/** A template has some hundred bytes. */
const MAX_TEMPLATE_BYTES = 256 * 1024;

type CniOptions = NonNullable<AgentOptions["cni"]>;

export class CniFile implements AsyncDisposable {
  readonly #options: CniOptions;
  readonly #logger: Logger;
  readonly #file = new LatestOnly(() => this.#write());
  /** What the file is a link to; undefined: it is a file itself. */
  #target: string | undefined;
  /** Undefined: not wanted. */
  #bootFile: CniBootFile | undefined;
  #content: SubnetEnvContent | undefined;
  #wantedKey = "";
  #writtenKey = "";
  #failure = "";

  /** `subnetFile`: of this agent; it lies in /run, so that it is missing after a boot, whatever the clock says. */
  constructor(options: CniOptions, subnetFile: string, logger: Logger) {
    this.#options = options;
    this.#target = options.target;
    this.#logger = logger;
    this.#bootFile =
      options.bootFile === undefined ? undefined : new CniBootFile(options.bootFile, options.file, logger);
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
    const isDue = this.#wantedKey !== this.#writtenKey || !isThere || this.#bootFile?.isDue === true;
    if (isDue) this.#file.request();
  }

  /**
   * From now on a file of its own, which a boot leaves alone: whoever installs another configuration may write to it, not
   * replace it. Throws `FILE_FAILED` when it stays a link into /run.
   */
  async handOver(): Promise<void> {
    const { file, target, bootFile } = this.#options;
    const isLink = this.#target !== undefined;
    this.#target = undefined;
    this.#bootFile = undefined;
    if (isLink) {
      this.#writtenKey = "";
      this.#file.request();
    }
    await this.#file.idle();
    if (bootFile !== undefined) forgetBootFile(bootFile, this.#logger);
    // Without a content nothing was written yet, and a link that leads nowhere hinders nobody.
    if (target === undefined || linkTarget(file) !== target || this.#content === undefined) return;
    const reason = this.#failure === "" ? "the agent is ending" : this.#failure;
    const remedy = `correct that and run it again, or: cp --remove-destination "$(readlink ${file})" ${file}`;
    throw new FlannelError(
      "FILE_FAILED",
      `${file} is still a link to ${target}, which a boot empties: ${reason}: ${remedy}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }

  /** What a file of an earlier boot says, that pods can start, is not true yet. A link that leads nowhere does not say it. */
  #withdraw(subnetFile: string): void {
    const { file } = this.#options;
    const target = this.#target;
    if (target !== undefined && linkTarget(file) === target && versionOf(file) === "") return;
    try {
      rmSync(file);
      if (target !== undefined) rmSync(target, { force: true });
      const message = `removed ${file} until the network is ready: there is no ${subnetFile}, as after a boot`;
      this.#logger.info("cni-conf.withdrawn", message, { file });
    } catch {
      // None is there, which is as well; what cannot be removed will show when it is written.
    }
  }

  async #write(): Promise<void> {
    const { file, template } = this.#options;
    const [content, key, target] = [this.#content, this.#wantedKey, this.#target];
    if (content === undefined) return;
    // First: no power cut leaves a configuration that the next boot would leave.
    await this.#bootFile?.write();
    try {
      const text = template === "" ? defaultCniTemplate : readSmallFile(template, MAX_TEMPLATE_BYTES);
      const isNew = await writeFileAtomically(target ?? file, renderCniConflist(text, content));
      // Runtimes watch the directory of the link, not that of its target.
      if (target !== undefined && (isNew || linkTarget(file) !== target)) await replaceLink(file, target);
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
