// What a backend has to know of this host to plan, in one object that is made anew for each plan.
import type { Backend, HostFacts } from "../../backend/backend.ts";
import type { Identities } from "../../backend/identities.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { Lease } from "../../lease/lease.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { OccupiedPrefix } from "../../underlay/occupied-prefixes.ts";
import { firstFacts, type NetworkOptions } from "./network-options.ts";
import { PeerLookUps } from "./peer-look-ups.ts";
import { SecretFiles } from "./secret-files.ts";

type Sources = Parameters<typeof firstFacts>[0] & Pick<NetworkOptions, "networks" | "logger">;

export class PlanFacts implements AsyncDisposable {
  readonly identities: Identities;
  readonly #lookUps: PeerLookUps;
  readonly #secretFiles: SecretFiles;
  #current: HostFacts;

  /** `onChange`: a plan from these facts would be another one. */
  constructor(sources: Sources, onChange: () => void) {
    const { networks, logger } = sources;
    this.identities = sources.identities;
    this.#current = firstFacts(sources);
    this.#lookUps = new PeerLookUps({
      networks,
      logger,
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
    this.#current = { ...this.#current, directPeers, occupied: await occupied(), secrets };
    return this.#current;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#secretFiles[Symbol.dispose]();
    await this.#lookUps[Symbol.asyncDispose]();
  }
}
