// What a backend has to know of this host to plan, in one object that is recreated for each plan.
import { randomBytes } from "node:crypto";
import type { Backend, BackendModule, HostFacts } from "../../backend/backend.ts";
import type { Identities } from "../../backend/identities.ts";
import type { Finding } from "../../doctor/finding.ts";
import { FlannelError } from "../../errors.ts";
import type { Lease, LeaseAttributes } from "../../lease/lease.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { OccupiedPrefix } from "../../underlay/occupied-prefixes.ts";
import { publicKeyOf } from "../../wireguard/keys.ts";
import { makeIdentityFile } from "../state/identity-file.ts";
import { firstFacts, type NetworkOptions } from "./network-options.ts";
import { PeerLookUps } from "./peer-look-ups.ts";
import { SecretFiles } from "./secret-files.ts";

type Sources = Parameters<typeof firstFacts>[0] &
  Pick<NetworkOptions, "networks" | "logger" | "backends" | "rtnetlink">;

export class PlanFacts implements AsyncDisposable {
  readonly #module: BackendModule | undefined;
  readonly #onChange: () => void;
  readonly #logger: Logger;
  #identities: Identities;
  #isRenewing = false;
  #settledAtMs = 0;
  readonly #lookUps: PeerLookUps;
  readonly #secretFiles: SecretFiles;
  #current: HostFacts;

  /** `onChange`: a plan from these facts would be another one. */
  constructor(sources: Sources, onChange: () => void) {
    const { networks, logger, backends, backend, identities, rtnetlink } = sources;
    this.#module = backends.find(backend.type);
    this.#onChange = onChange;
    this.#logger = logger;
    this.#identities = identities;
    this.#current = firstFacts(sources);
    this.#lookUps = new PeerLookUps({
      ...{ networks, rtnetlink, logger },
      onChange: (directPeers) => {
        if (directPeers !== this.#current.directPeers) onChange();
      },
    });
    this.#secretFiles = new SecretFiles(logger, onChange);
  }

  /** As of the last `gather`. */
  get current(): HostFacts {
    return this.#current;
  }

  get identities(): Identities {
    return this.#identities;
  }

  /** Throws `CONFIG_INVALID` where the backend has nothing to renew. */
  requireRenewable(): void {
    const { type = "none", identity } = this.#module ?? {};
    if (identity?.renew !== undefined) return;
    throw new FlannelError("CONFIG_INVALID", `the backend ${type} has no key that could be rotated`);
  }

  /** See `BackendIdentity.renew`. Returns what takes it back, for as long as nothing was announced. */
  renewIdentity(): () => void {
    this.requireRenewable();
    const before = this.#current.identity;
    const facts = { randomBytes, curve25519PublicKey: publicKeyOf };
    this.#setIdentity(this.#module?.identity?.renew?.(before, facts));
    this.#isRenewing = true;
    return () => {
      this.#setIdentity(before);
      this.#isRenewing = false;
    };
  }

  /** Renewed, and not in use yet. */
  get isRenewing(): boolean {
    return this.#isRenewing;
  }

  /** Wall clock at which the last `settleIdentity` brought another identity. */
  get settledAtMs(): number {
    return this.#settledAtMs;
  }

  /** See `BackendIdentity.settle`. */
  settleIdentity(announced: LeaseAttributes): void {
    const { identity } = this.#module ?? {};
    const settled = identity?.settle?.(this.#current.identity, announced);
    if (this.#module === undefined || settled === undefined || settled === this.#current.identity) return;
    this.#setIdentity(settled);
    this.#isRenewing = false;
    this.#settledAtMs = Date.now();
    makeIdentityFile(this.#module, settled, this.#logger).catch(() => undefined);
    this.#logger.info("identity.changed", "this host has another key now, as its lease announces");
    this.#onChange();
  }

  #setIdentity(identity: unknown): void {
    this.#current = { ...this.#current, identity };
    if (this.#module !== undefined) this.#identities = { ...this.#identities, [this.#module.type]: identity };
  }

  get findings(): readonly Finding[] {
    return this.#secretFiles.findings;
  }

  setExternalInterface(externalInterface: ExternalInterface): void {
    this.#current = { ...this.#current, externalInterface };
  }

  /** All that the backend asks for, as of now. */
  async gather(
    peers: readonly Lease[],
    backend: Backend,
    occupied: () => Promise<readonly OccupiedPrefix[]>,
  ): Promise<HostFacts> {
    const directPeers = await this.#lookUps.of(peers, backend, this.#current);
    const secrets = this.#secretFiles.of(backend.secretFiles ?? []);
    const prefixes = await occupied();
    // Only now: the external interface or the identity may have changed meanwhile.
    this.#current = { ...this.#current, directPeers, occupied: prefixes, secrets };
    return this.#current;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#secretFiles[Symbol.dispose]();
    await this.#lookUps[Symbol.asyncDispose]();
  }
}
