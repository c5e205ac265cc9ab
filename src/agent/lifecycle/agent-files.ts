// The files the agent keeps current: subnet.env for Docker and CNI, and the state it remembers itself by.

import { LatestOnly } from "../../async/latest-only.ts";
import type { AgentOptions } from "../../config/agent-options.ts";
import { describeError, FlannelError } from "../../errors.ts";
import type { Address, Prefix } from "../../ip/address.ts";
import type { Lease, OwnLease } from "../../lease/lease.ts";
import { renderSubnetEnv } from "../../lease/subnet-env.ts";
import { fileVersion, readSmallFileOrEmpty, writeFileAtomically } from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { RememberedState, WarmState } from "../state/warm-state.ts";
import type { ActiveConfig } from "./config-change.ts";
import { selectionText } from "./interface-selection.ts";
import type { Network } from "./network.ts";
import { RestoredFiles } from "./restored-files.ts";

export interface FileSources {
  readonly config: ActiveConfig;
  readonly own: OwnLease;
  readonly network: Network;
  readonly earlierSubnets: readonly Prefix[];
  readonly storeAddresses: readonly Address[];
}

const MAX_SUBNET_FILE_BYTES = 64 * 1024;
/** The more peers there are, the more often they change and the more a save costs. */
const SAVE_PEERS_AFTER_MS = { least: 500, forEach: 1, most: 10_000 } as const;

export class AgentFiles implements AsyncDisposable {
  readonly #options: AgentOptions;
  readonly #warmState: WarmState;
  readonly #logger: Logger;
  readonly #onWritten: () => void;
  readonly #subnetFile = new LatestOnly(() => this.#writeSubnetFile());
  readonly #state = new LatestOnly(() => this.#saveState());
  readonly #peersFile = new LatestOnly(
    () => this.#savePeers(),
    () => savePeersAfterMs(this.#peers.length),
  );
  /** `version`: as of `fileVersion`. */
  #subnetText = { wanted: "", written: "", version: "" };
  readonly #restored: RestoredFiles;
  #stateText = { wanted: "", saved: "" };
  #wantedState: RememberedState | undefined;
  #peers: readonly Lease[] = [];
  #arePeersSaved = false;
  /** What fails right now, each with the kind of failure that was said. */
  readonly #failing = new Map<FileKind, string>();

  constructor(options: AgentOptions, warmState: WarmState, logger: Logger, onWritten: () => void) {
    this.#options = options;
    this.#warmState = warmState;
    this.#logger = logger;
    this.#onWritten = onWritten;
    this.#restored = new RestoredFiles(logger);
  }

  get isSubnetFileCurrent(): boolean {
    return this.#subnetText.wanted !== "" && this.#subnetText.wanted === this.#subnetText.written;
  }

  /** Writes what differs; what failed before is tried again. subnet.env waits until our own devices are in place. */
  update(sources: FileSources): void {
    const { config, own, network } = sources;
    if (network.isOwnProgrammed) {
      this.#subnetText.wanted = renderSubnetEnv({
        config: config.config,
        subnets: own,
        mtuBytes: network.mtuBytes,
        ipMasq: this.#options.rules.masquerade,
      });
      if (this.isSubnetFileCurrent && !this.#isSubnetFileThere()) this.#subnetText.written = "";
      if (!this.isSubnetFileCurrent) this.#subnetFile.request();
    }
    if (this.#arePeersSaved && !this.#warmState.isThere) {
      this.#restored.log("the state directory's files");
      this.#stateText.saved = "";
      this.#arePeersSaved = false;
    }
    this.#wantedState = rememberedState(sources, this.#options);
    this.#stateText.wanted = JSON.stringify(this.#wantedState, withoutBigInts);
    if (this.#stateText.wanted !== this.#stateText.saved) this.#state.request();
  }

  /** Rejects with `FILE_FAILED` when the state of the last `update` cannot be saved now. */
  async untilStateSaved(): Promise<void> {
    await this.#state.idle();
    if (this.#stateText.wanted === this.#stateText.saved) return;
    throw new FlannelError("FILE_FAILED", `cannot save the state in ${this.#options.stateDirectory}; see the log`);
  }

  savePeers(peers: readonly Lease[]): void {
    this.#peers = peers;
    this.#peersFile.request();
  }

  /** Repaired like an object of the kernel when it is removed or changed. */
  #isSubnetFileThere(): boolean {
    const { subnetFile } = this.#options;
    const version = fileVersion(subnetFile);
    if (version === this.#subnetText.version) return true;
    if (version !== "" && readSmallFileOrEmpty(subnetFile, MAX_SUBNET_FILE_BYTES) === this.#subnetText.written) {
      this.#subnetText.version = version;
      return true;
    }
    this.#restored.log(subnetFile);
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#subnetFile[Symbol.asyncDispose]();
    await this.#state[Symbol.asyncDispose]();
    await this.#peersFile[Symbol.asyncDispose]();
  }

  async #writeSubnetFile(): Promise<void> {
    if (this.isSubnetFileCurrent) return;
    const text = this.#subnetText.wanted;
    const { subnetFile } = this.#options;
    try {
      await writeFileAtomically(subnetFile, text);
      this.#subnetText.written = text;
      this.#subnetText.version = fileVersion(subnetFile);
      this.#failing.delete("subnet file");
      this.#logger.info("subnet-file.written", `wrote subnet file to ${subnetFile}`, { file: subnetFile });
    } catch (error) {
      if (this.#isNewFailure("subnet file", error)) {
        const message = "cannot write the subnet file; retrying";
        this.#logger.error("subnet-file.failed", message, { error: describeError(error) });
      }
    }
    this.#onWritten();
  }

  async #saveState(): Promise<void> {
    if (this.#wantedState === undefined) return;
    const text = this.#stateText.wanted;
    if (text === this.#stateText.saved) return;
    try {
      await this.#warmState.save(this.#wantedState);
      this.#stateText.saved = text;
      this.#failing.delete("state");
      if (!this.#arePeersSaved) this.#peersFile.request();
    } catch (error) {
      this.#sayNotSaved("state", error);
    }
  }

  async #savePeers(): Promise<void> {
    try {
      this.#arePeersSaved = await this.#warmState.savePeers(this.#peers);
      this.#failing.delete("peers");
    } catch (error) {
      this.#sayNotSaved("peers", error);
    }
  }

  #sayNotSaved(what: "state" | "peers", error: unknown): void {
    if (!this.#isNewFailure(what, error)) return;
    const message = `cannot save the ${what}; retrying: a start while the store is unreachable would wait`;
    this.#logger.error("state.failed", message, { error: describeError(error) });
  }

  /** Tried every few seconds, and said only when it begins or becomes another failure. */
  #isNewFailure(what: FileKind, error: unknown): boolean {
    const kind = failureKind(error);
    if (this.#failing.get(what) === kind) return false;
    this.#failing.set(what, kind);
    return true;
  }
}

function savePeersAfterMs(peers: number): number {
  const { least, forEach, most } = SAVE_PEERS_AFTER_MS;
  return Math.min(most, Math.max(least, peers * forEach));
}

type FileKind = "subnet file" | "state" | "peers";

/** The system's error code: the text names a temporary file, another one each time. */
function failureKind(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "code" in cause ? String(cause.code) : describeError(error);
}

function rememberedState(sources: FileSources, options: AgentOptions): RememberedState {
  const { config, own, network, earlierSubnets, storeAddresses } = sources;
  const { publicIp, publicIpv6, mac, address, ipv6Address } = network.facts.externalInterface;
  return {
    configText: config.text,
    own,
    earlierSubnets,
    storeAddresses: storeAddresses.toSorted(),
    identities: network.identities,
    devices: network.backend.devices,
    ...(options.cni !== undefined && { cniFile: options.cni.file }),
    ...(options.cni?.bootFile !== undefined && { cniBootFile: options.cni.bootFile }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    ...(mac !== undefined && { interfaceMac: mac }),
    chosen: { flags: selectionText(options), addresses: [address, ipv6Address].filter((each) => each !== undefined) },
  };
}

function withoutBigInts(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
