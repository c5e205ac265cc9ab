// Maintains what CNI keeps on this host of the network's containers: frees what containers of earlier boots have left, repairs
// the bridge where nothing is attached to it, and finds what only a person can decide.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LatestOnly } from "../../async/latest-only.ts";
import { attachedInterfaces, readAttachments } from "../../cni/attachments.ts";
import {
  type ContainerNetwork,
  containerNetwork,
  freeEarlierBoots,
  networksWithScratchFiles,
  removeIdleScratchFiles,
} from "../../cni/container-network.ts";
import { presentHost } from "../../cni/present-host.ts";
import { readReservations } from "../../cni/reservations.ts";
import { writeMissingScratchFiles } from "../../cni/write-scratch.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import type { Finding } from "../../doctor/finding.ts";
import { describeError } from "../../errors.ts";
import type { Prefix } from "../../ip/address.ts";
import { containsAddress, prefixSize } from "../../ip/prefix.ts";
import { type CniIdentity, defaultCniTemplate, identifyCniTemplate } from "../../lease/cni-conflist.ts";
import { changeLink, deleteLink } from "../../netlink/rtnetlink/link.ts";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { readSmallFile, readSmallFileOrEmpty } from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { AgentMetricsRecorder } from "../../telemetry/metrics/metrics.ts";
import { CniMetrics } from "./cni-metrics.ts";
import {
  type BridgeFacts,
  type BridgeWish,
  bridgeFindings,
  isOutdated,
  leftoverFinding,
  repairOfBridge,
  shortageFindings,
} from "./container-bridge.ts";

const LOOK_EVERY_MS = 30_000;
/** While new containers are refused until the last old one has gone. */
const LOOK_SOON_MS = 2_000;
/** A container that is being attached has its scratch file before its address. */
const IDLE_AFTER_MS = 10 * 60_000;
const MAX_CONFIGURATION_BYTES = 256 * 1024;
/** Of IPv6 nobody runs out. */
const MAX_COUNTED_SUBNET = 1n << 16n;

export interface CniMaintenanceParts {
  readonly options: Pick<AgentOptions, "cni" | "cniStateDirectory" | "subnetFile">;
  /** Stays the caller's. */
  readonly rtnetlink: Pick<Rtnetlink, "dump" | "apply">;
  readonly logger: Logger;
  readonly metrics: AgentMetricsRecorder;
}

export class CniMaintenance implements AsyncDisposable {
  readonly #parts: CniMaintenanceParts;
  readonly #metrics: CniMetrics;
  readonly #looks = new LatestOnly(() => this.#look());
  #wish: BridgeWish | undefined;
  #wishKey = "";
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #isBootDone = false;
  #isHandedOver = false;
  /** The bridge is to be removed when nothing is attached to it. */
  #isBridgeOutdated = false;
  #failure = "";
  /** On the bridge without a container, as of the look before. */
  #suspects: ReadonlySet<string> = new Set();
  #findings: readonly Finding[] = [];

  constructor(parts: CniMaintenanceParts) {
    this.#parts = parts;
    const { subnetFile, cniStateDirectory } = parts.options;
    this.#metrics = new CniMetrics(parts.metrics, subnetFile, cniStateDirectory);
  }

  get findings(): readonly Finding[] {
    return this.#findings;
  }

  /** To be called now and then; looks now and then, and at once when something is another. `wish`: missing without a lease. */
  follow(wish: BridgeWish | undefined): void {
    this.#metrics.tick();
    this.#wish = wish ?? this.#wish;
    const key = JSON.stringify(wish ?? "");
    const nowMs = performance.now();
    const everyMs = this.#isBridgeOutdated ? LOOK_SOON_MS : LOOK_EVERY_MS;
    if (key === this.#wishKey && nowMs - this.#lookedAtMs < everyMs && !this.#isHandedOver) return;
    this.#wishKey = key;
    this.#lookedAtMs = nowMs;
    this.#looks.request();
  }

  /**
   * Writes, now and for containers that are attached from now on, what upstream's plugin needs to detach those that were
   * attached without one. How many there were. Throws `FILE_FAILED` and Node's errors.
   */
  async handOver(): Promise<number> {
    const written = await this.#writeScratchFiles();
    this.#isHandedOver = true;
    return written;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#looks[Symbol.asyncDispose]();
    this.#metrics[Symbol.dispose]();
  }

  async #look(): Promise<void> {
    try {
      const links = await this.#parts.rtnetlink.dump("link");
      const identities = this.#identities();
      this.#metrics.follow(identities.map(({ network }) => network));
      for (const { identity, network } of identities) await this.#cleanUp(network, links, identity);
      this.#isBootDone = true;
      if (this.#isHandedOver) await this.#writeScratchFiles();
      const found: Finding[] = [];
      for (const { identity, network } of identities) found.push(...(await this.#judge(identity, network, links)));
      this.#findings = found;
      this.#failure = "";
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Of the configuration that we write; of those of flannel's plugin where we write none. */
  #identities(): { readonly identity: CniIdentity; readonly network: ContainerNetwork }[] {
    const { options } = this.#parts;
    const { cniStateDirectory } = options;
    const identities: CniIdentity[] =
      options.cni === undefined
        ? networksWithScratchFiles(cniStateDirectory).map((name) => ({ name, bridge: { name: "cni0" } }))
        : [identifyCniTemplate(templateOf(options.cni))];
    return identities.map((identity) => ({
      identity,
      network: containerNetwork(cniStateDirectory, identity.name, identity.ipamDirectory),
    }));
  }

  async #cleanUp(network: ContainerNetwork, links: readonly LinkMessage[], { name }: CniIdentity): Promise<void> {
    const { options, logger } = this.#parts;
    if (!this.#isBootDone) {
      const freed = await freeEarlierBoots(network, presentHost(links));
      if (freed.length > 0) {
        const message = `freed ${freed.length} addresses of containers of earlier boots in ${network.reservations}`;
        logger.info("cni-state.freed", message, {
          network: name,
          addresses: freed.map(({ address }) => address).join(" "),
        });
      }
    }
    // Where flannel's plugin attaches containers, it does this itself (GC).
    if (options.cni !== undefined) removeIdleScratchFiles(network, Date.now() - IDLE_AFTER_MS);
  }

  async #judge(identity: CniIdentity, network: ContainerNetwork, links: readonly LinkMessage[]): Promise<Finding[]> {
    const wish = this.#wish;
    this.#isBridgeOutdated = false;
    if (wish === undefined) return [];
    const findings = wish.ownSubnets.flatMap((subnet) => shortage(subnet, network));
    const link = links.find(({ name, kind }) => name === identity.bridge?.name && kind === "bridge");
    if (link === undefined) return findings;
    const own = { ...wish, mtuBytes: identity.bridge?.mtuBytes ?? wish.mtuBytes };
    const bridge = await this.#bridgeFacts(link, links);
    if (this.#parts.options.cni !== undefined) {
      this.#isBridgeOutdated = isOutdated(bridge, own) && bridge.ports.length > 0;
      await this.#repair(link, bridge, own);
    }
    return [...findings, ...bridgeFindings(bridge, own), ...this.#leftovers(bridge, network)];
  }

  async #bridgeFacts({ name, index, mtuBytes }: LinkMessage, links: readonly LinkMessage[]): Promise<BridgeFacts> {
    const addresses = await this.#parts.rtnetlink.dump("address");
    return {
      name,
      mtuBytes,
      addresses: addresses.filter((each) => each.index === index).map(({ address }) => address),
      ports: links.filter(({ masterIndex }) => masterIndex === index),
    };
  }

  /** Only of the bridge of the configuration that is ours. */
  async #repair(link: LinkMessage, bridge: BridgeFacts, wish: BridgeWish): Promise<void> {
    const repair = repairOfBridge(bridge, wish);
    if (repair === undefined) return;
    const { rtnetlink, logger } = this.#parts;
    const request = repair.type === "remove" ? deleteLink(link) : changeLink(link, { mtuBytes: repair.mtuBytes });
    const [error] = await rtnetlink.apply([request]);
    if (error !== undefined) throw error;
    if (repair.type === "remove") {
      const message =
        `removed the bridge ${link.name} with the address ${repair.address} of an earlier subnet: nothing was attached to it, ` +
        "and the next container gets a new one";
      logger.info("cni-bridge.removed", message, { device: link.name });
    } else {
      const message = `set the MTU of the bridge ${link.name} to ${repair.mtuBytes}, as the network has it now`;
      logger.info("cni-bridge.mtu", message, { device: link.name, before: link.mtuBytes });
    }
  }

  /** Seen in two looks: a container that is being attached becomes known at its end. */
  #leftovers({ name, ports }: BridgeFacts, { stateDirectory, name: networkName }: ContainerNetwork): Finding[] {
    // Who does not keep results there knows its containers in another way.
    if (!existsSync(join(stateDirectory, "results"))) return [];
    const known = attachedInterfaces(readAttachments(stateDirectory, networkName));
    const unknown = ports.map((port) => port.name).filter((port) => port.startsWith("veth") && !known.has(port));
    const lasting = unknown.filter((port) => this.#suspects.has(port));
    this.#suspects = new Set(unknown);
    return lasting.length === 0 ? [] : [leftoverFinding(name, lasting)];
  }

  async #writeScratchFiles(): Promise<number> {
    const { options, rtnetlink } = this.#parts;
    if (options.cni === undefined) return 0;
    const { interfaces } = presentHost(await rtnetlink.dump("link"));
    let written = 0;
    for (const { network } of this.#identities()) {
      written += await writeMissingScratchFiles(
        network,
        readSmallFileOrEmpty(options.cni.file, MAX_CONFIGURATION_BYTES),
        interfaces,
      );
    }
    return written;
  }

  #fail(error: unknown): void {
    const reason = describeError(error);
    if (reason === this.#failure) return;
    this.#failure = reason;
    this.#parts.logger.warn("cni-state.failed", "cannot maintain what CNI keeps of containers; retrying", {
      error: reason,
    });
  }
}

function shortage(subnet: Prefix, { reservations }: ContainerNetwork): Finding[] {
  const size = prefixSize(subnet);
  if (size > MAX_COUNTED_SUBNET) return [];
  const used = readReservations(reservations).filter(({ address }) => containsAddress(subnet, address)).length;
  return shortageFindings(subnet, Number(size), used, reservations);
}

function templateOf({ template }: NonNullable<AgentOptions["cni"]>): string {
  return template === "" ? defaultCniTemplate : readSmallFile(template, MAX_CONFIGURATION_BYTES);
}
