// The alloc backend: leases a subnet and writes subnet.env, and leaves moving packets to others. Pure.
import type { NetworkConfig } from "../../config/network-config.ts";
import { announcedAddresses } from "../announced-addresses.ts";
import type { Backend, BackendModule } from "../backend.ts";

export const allocModule: BackendModule = {
  type: "alloc",
  summary: "Only leases a subnet; another program forwards the packets.",
  keys: [],
  devicePatterns: [],
  create: createAllocBackend,
};

function createAllocBackend(config: NetworkConfig): Backend {
  return {
    type: "alloc",
    devices: [],
    needsLookUp: () => false,
    runsDataPlane: false,
    needs: { carriesTraffic: false },
    mtuBytes: (facts) => facts.externalInterface.mtuBytes,
    // As in flannel, the lease carries no backend type.
    attributes: (facts) => announcedAddresses(config, facts.externalInterface),
    prepare: () => undefined,
    plan: () => ({ state: {}, plannedPeers: 0, skipped: [] }),
  };
}
