// A backend that nothing in the product knows of: routes as host-gw's, a badge that peers know this host by, derived
// from a secret, and a runtime that counts what it is told and is out of order when the configuration says so.
import { createHash } from "node:crypto";
import type { Backend, BackendModule, BackendRuntime } from "../../../src/backend/backend.ts";
import { boolOption, readBackendOptions } from "../../../src/config/backend-options.ts";
import type { NetworkConfig } from "../../../src/config/network-config.ts";
import type { HostRoute } from "../../../src/host/kinds/route-form.ts";
import type { LeaseAttributes } from "../../../src/lease/lease.ts";

/** As the state file keeps it. */
export interface ToyIdentity {
  readonly secret: string;
}

interface ToyPlan {
  readonly peers: readonly string[];
  readonly isOutOfOrder: boolean;
}

const keys = [
  {
    name: "OutOfOrder",
    type: "bool",
    defaultValue: false,
    defaultText: "false",
    description: "Whether nothing works.",
    live: true,
  },
] as const;

export const toyModule: BackendModule<ToyIdentity, ToyPlan> = {
  type: "toy",
  summary: "For tests.",
  keys,
  devicePatterns: [],
  identity: {
    restore: (remembered, { randomBytes }) =>
      isToyIdentity(remembered) ? remembered : { secret: Buffer.from(randomBytes(16)).toString("hex") },
    matches: (identity, { backendData }) => JSON.stringify(backendData) === JSON.stringify(badgeOf(identity)),
  },
  create: createToyBackend,
  start: () => Promise.resolve(new ToyRuntime()),
};

/** What a lease says of a host with this identity. */
export function badgeOf({ secret }: ToyIdentity) {
  return { Badge: createHash("sha256").update(secret).digest("hex").slice(0, 12) };
}

export function isToyIdentity(value: unknown): value is ToyIdentity {
  return typeof value === "object" && value !== null && "secret" in value && typeof value.secret === "string";
}

function createToyBackend(config: NetworkConfig): Backend<ToyIdentity, ToyPlan> {
  const isOutOfOrder = boolOption(readBackendOptions(keys, config.backend), "OutOfOrder");
  return {
    type: "toy",
    devices: [],
    needsLookUp: () => false,
    runsDataPlane: false,
    needs: { carriesTraffic: true },
    mtuBytes: ({ externalInterface }) => externalInterface.mtuBytes,
    attributes: ({ externalInterface: { publicIp }, identity }): LeaseAttributes => ({
      ...(publicIp !== undefined && { publicIp }),
      backendType: "toy",
      backendData: badgeOf(identity),
    }),
    prepare: () => undefined,
    plan: (_own, peers, { externalInterface }) => {
      const routes = peers.flatMap(({ subnet, attributes: { publicIp } }): HostRoute[] =>
        subnet === undefined || publicIp === undefined
          ? []
          : [{ destination: subnet, device: externalInterface.name, gateway: publicIp, onLink: false }],
      );
      const runtime = { peers: peers.map(({ key }) => key), isOutOfOrder };
      return { state: { route: routes }, runtime, plannedPeers: peers.length, skipped: [] };
    },
  };
}

/** Set by a test: plans are refused, as when a program that should carry them out does not answer. */
export const refusal: { isOn: boolean } = { isOn: false };

class ToyRuntime implements BackendRuntime<ToyPlan> {
  #plan: ToyPlan = { peers: [], isOutOfOrder: false };
  #plans = 0;

  apply(plan: ToyPlan): Promise<void> {
    if (refusal.isOn) return Promise.reject(new Error("the toy refuses the plan"));
    this.#plan = plan;
    this.#plans++;
    return Promise.resolve();
  }

  problem(): string | undefined {
    return this.#plan.isOutOfOrder ? "the toy is out of order" : undefined;
  }

  status() {
    const peers = this.#plan.peers.map((key) => ({ key }));
    return { features: { toy: "simple" }, carried: { plans: this.#plans }, dropped: {}, peers };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
