// Stands in for an agent that does not run: keeps it from starting meanwhile, and knows from its files what was its own.

import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { dirname } from "node:path";
import { cleanUpBackends, rememberedScope } from "../../../agent/state/remembered-scope.ts";
import { readSubnetFile } from "../../../agent/state/subnet-file.ts";
import { type HostIdentity, type RememberedState, WarmState } from "../../../agent/state/warm-state.ts";
import type { CleanUpResult, CleanUpServices } from "../../../backend/backend.ts";
import { backends } from "../../../backend/registry.ts";
import { DEFAULT_BOOT_FILE, isBootFile } from "../../../config/cni-boot-lines.ts";
import { FlannelError } from "../../../errors.ts";
import { type AgentScope, findDevices } from "../../../host/without-agent.ts";
import type { Prefix } from "../../../ip/address.ts";
import { isRenderedConflist } from "../../../lease/cni-conflist.ts";
import { type LeasedSubnets, prefixesOf } from "../../../lease/lease.ts";
import { attachErrorFile, attachHoldFile } from "../../../lease/subnet-env.ts";
import type { NetworkIdentity } from "../../../store/network-identity.ts";
import { storeIdentity } from "../../../store/store-identity.ts";
import { FileLock } from "../../../sys/file-lock.ts";
import { readSmallFileOrEmpty } from "../../../sys/files.ts";
import { linkTarget } from "../../../sys/links.ts";
import type { GlobalOptions } from "./invocation.ts";
import { storeOptions } from "./open-store.ts";

/** Of our manifest. */
const DEFAULT_CNI_FILE = "/etc/cni/net.d/10-flannel.conflist";
const MAX_CNI_FILE_BYTES = 256 * 1024;

const everything = ["0.0.0.0/0", "::/0"] as Prefix[];

export class AbsentAgent implements Disposable {
  readonly #options: GlobalOptions;
  readonly network: NetworkIdentity;
  readonly #lock: FileLock | undefined;
  readonly #warmState: WarmState;

  private constructor(options: GlobalOptions, lock: FileLock | undefined) {
    this.#options = options;
    this.#lock = lock;
    const { stateDirectory: directory, subnetFile } = options;
    const { network, leaseCodec } = storeIdentity(storeOptions(options));
    this.network = network;
    this.#warmState = new WarmState({ directory, subnetFile, networkId: network.id, leaseCodec, backends });
  }

  /** Throws `AGENT_RUNNING`, naming the pid, when the agent of this subnet file runs after all. */
  static lockOut(options: GlobalOptions): AbsentAgent {
    const lockPath = `${options.several?.subnetDirectory ?? options.subnetFile}.lock`;
    // An agent makes the directory before it takes the lock: without the one there is no holder of the other.
    const lock = existsSync(dirname(lockPath)) ? FileLock.acquire(lockPath) : undefined;
    return new AbsentAgent(options, lock);
  }

  /** The agent may start again. */
  [Symbol.dispose](): void {
    this.#lock?.removeAndFree();
  }

  /**
   * What it made on this host, as it remembered it. When nothing is remembered of any agent, all that bears flannel's
   * name or number. Throws `USAGE` when only others are remembered: theirs must not be touched by mistake.
   */
  async scope(): Promise<AgentScope> {
    const states = this.#warmState.all();
    if (states.length > 0) return rememberedScope(states, backends);
    const { stateDirectory, subnetFile } = this.#options;
    const { description, flag } = this.network;
    if (listDirectory(stateDirectory).some((file) => file.endsWith(".json"))) {
      throw new FlannelError(
        "USAGE",
        `${stateDirectory} holds the state of other agents, but of none with subnet file ${subnetFile} and ${description}; ` +
          `give --subnet-file and ${flag} of the agent that is meant`,
      );
    }
    return { devices: await findDevices(backends.devicePatterns), networks: everything };
  }

  /** Whether anything is known of it. */
  get isRemembered(): boolean {
    return this.#warmState.all().length > 0;
  }

  /** Has its backends take away what they had running: see `BackendModule.cleanUp`. */
  cleanUpBackends(services: Omit<CleanUpServices, "memory">): Promise<readonly CleanUpResult[]> {
    return cleanUpBackends(this.#warmState, backends, services);
  }

  /** What it remembered of its own lease, as far as that is of this host. */
  remembered(): RememberedState | undefined {
    return this.#warmState.load(hostIdentity(), () => undefined);
  }

  /** The subnets its subnet file names; empty without one. */
  subnets(): LeasedSubnets {
    return readSubnetFile(this.#options.subnetFile, () => undefined);
  }

  /**
   * CNI configurations that it wrote and nobody has replaced since; where nothing is remembered, that of our manifest. Of one
   * that is a link, what it leads to as well; a link that leads nowhere since a boot has no text.
   */
  cniFiles(): { readonly path: string; readonly text: string; readonly target?: string }[] {
    const states = this.#warmState.all();
    const remembered = states.flatMap(({ cniFile }) => cniFile ?? []);
    const { subnet, ipv6Subnet } = this.subnets();
    const own = [subnet, ipv6Subnet].filter((each) => each !== undefined);
    const subnets = [...own, ...states.flatMap((state) => [...prefixesOf(state.own), ...(state.earlierSubnets ?? [])])];
    return [...new Set(states.length === 0 ? [DEFAULT_CNI_FILE] : remembered)]
      .map((path) => ({ path, text: readSmallFileOrEmpty(path, MAX_CNI_FILE_BYTES), link: linkTarget(path) }))
      .filter(({ text, link }) => isRenderedConflist(text, subnets) || (link !== undefined && this.#isIdleLink(link)))
      .map(({ path, text, link }) => ({ path, text, ...(link !== undefined && { target: link }) }));
  }

  /**
   * Files by which systemd removes these at boot. That of our manifest in any case: an agent that was started without the flag
   * and without that directory could neither remove it nor remember it.
   */
  cniBootFiles(): string[] {
    const known = this.#warmState.all().flatMap(({ cniBootFile }) => cniBootFile ?? []);
    return [...new Set([DEFAULT_BOOT_FILE, ...known])].filter((path) =>
      isBootFile(readSmallFileOrEmpty(path, MAX_CNI_FILE_BYTES)),
    );
  }

  /** Of `--cni-conf-target`, which lies beside the subnet file as a rule, after a boot. */
  #isIdleLink(target: string): boolean {
    return dirname(target) === dirname(this.#options.subnetFile) && !existsSync(target);
  }

  /** Containers are not to be attached to what is no longer there: see attach-hold.ts. Nothing without a subnet file. */
  holdBack(reason: string): void {
    const { subnetFile } = this.#options;
    if (existsSync(subnetFile)) writeFileSync(attachHoldFile(subnetFile), `${reason}\n`);
  }

  /** The subnet file, its state, and a socket left behind by an agent that was killed; what of it exists. */
  async files(): Promise<string[]> {
    const { subnetFile, socketPaths } = this.#options;
    const sockets = await Promise.all(socketPaths.map(async (path) => ((await isLeftBehind(path)) ? [path] : [])));
    const own = [subnetFile, attachHoldFile(subnetFile), attachErrorFile(subnetFile)].filter((path) =>
      existsSync(path),
    );
    return [...own, ...this.#warmState.files(), ...sockets.flat()];
  }
}

/** A socket nobody listens on. The default one may be that of another agent with its subnet file in the same place. */
function isLeftBehind(path: string): Promise<boolean> {
  if (statSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return Promise.resolve(false);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once("connect", () => resolve(false));
  socket.once("error", () => resolve(true));
  return promise.finally(() => socket.destroy());
}

/** Addresses and MACs of this host's interfaces. */
export function hostIdentity(): HostIdentity {
  const interfaces = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const external = interfaces.filter(({ internal }) => !internal);
  return { addresses: new Set(external.map(({ address }) => address)), macs: new Set(external.map(({ mac }) => mac)) };
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
