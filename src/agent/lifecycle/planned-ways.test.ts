import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { revision } from "../../../test/support/revision.ts";
import type { BackendPlan } from "../../backend/backend.ts";
import type { HostRoute } from "../../host/kinds/route-form.ts";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import type { Lease } from "../../lease/lease.ts";
import { PlannedWays } from "./planned-ways.ts";

const leases = Array.from({ length: 24 }, (_, at): Lease => {
  const number = at % 12; // each subnet by two leases
  return {
    key: `10.5.${number}.0-24 ${at}`,
    subnet: parsePrefix(`10.5.${number}.0/24`),
    ...(at % 5 !== 0 && { ipv6Subnet: parsePrefix(`fd00:5:0:${number}::/64`) }),
    ...{ revision: revision(at), createdAt: revision(at), isReservation: false, adapterData: 1 },
    attributes: { publicIp: parseAddress(`192.0.2.${at}`), backendType: "vxlan" },
  };
});

function routesOf({ subnet, ipv6Subnet, attributes }: Lease, kind: number): readonly HostRoute[] {
  const device = kind === 2 ? "eth0" : "flannel.1";
  const gateway = attributes.publicIp ?? parseAddress("192.0.2.99");
  return [subnet, ipv6Subnet]
    .filter((destination) => destination !== undefined)
    .map((destination) => ({ destination, device, gateway, onLink: kind !== 2 }));
}

const routeCache = new Map(
  leases.flatMap((lease) => [1, 2].map((kind) => [`${lease.key} ${kind}`, routesOf(lease, kind)])),
);

test("ways that follow a few changes are those of a look at all peers", () => {
  const step = fc.record({
    peers: fc.subarray(leases, { minLength: 3 }),
    missing: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, fc.constantFrom(...leases)),
    skipped: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, fc.constantFrom(...leases)),
    direct: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, fc.constantFrom(...leases)),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      const ways = new PlannedWays();
      for (const { peers: chosen, missing, skipped, direct } of steps) {
        // No two leases of one subnet: of these the backend skips one.
        const peers = [...new Map(chosen.map((lease) => [lease.subnet, lease])).values()];
        const route = peers.flatMap((lease) => routeCache.get(`${lease.key} ${lease === direct ? 2 : 1}`) ?? []);
        const plan: BackendPlan = {
          state: { route },
          plannedPeers: peers.length,
          skipped: skipped === undefined ? [] : [{ key: skipped.key, reason: "for a reason" }],
        };
        const isProgrammed = ({ destination }: HostRoute) => destination !== missing?.subnet;
        const isAll = !route.some((one) => !isProgrammed(one));
        expect(ways.of(plan, peers, isProgrammed, isAll)).toEqual(
          new PlannedWays().of(plan, peers, isProgrammed, isAll),
        );
      }
    }),
    propertyRuns(10_000),
  );
});
