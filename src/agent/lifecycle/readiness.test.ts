import { describe, expect, it } from "vitest";
import { type ReadinessView, readinessReasons, STORE_SEEN_BOUND_MS } from "./readiness.ts";

const ready: ReadinessView = {
  hasLease: true,
  isSubnetFileWritten: true,
  arePeersProgrammed: true,
  failedObjects: 0,
  storeAgeMs: 1_000,
  isWarmStart: false,
};

describe("readinessReasons", () => {
  it("is empty when pods can talk", () => expect(readinessReasons(ready)).toEqual([]));

  it.each<[Partial<ReadinessView>, string]>([
    [{ hasLease: false }, "no lease yet"],
    [{ hasLease: false, leaseObstacle: "no free subnet" }, "no lease yet: no free subnet"],
    [{ leaseProblem: "our lease has expired" }, "our lease has expired"],
    [{ isSubnetFileWritten: false }, "the subnet file is not written yet"],
    [{ arePeersProgrammed: false }, "the peers are not programmed yet"],
    [{ failedObjects: 2 }, "2 kernel objects could not be programmed"],
    [{ isWarmStart: true }, "running on remembered state: the store has not answered yet"],
    [{ storeAgeMs: STORE_SEEN_BOUND_MS + 1 }, "the store has not answered for 300 s"],
    [{ dataPlaneProblem: "IPv6 is lost" }, "packets are not carried: IPv6 is lost"],
    [{ externalInterfaceProblem: "eth0 is down" }, "eth0 is down"],
  ])("names %j", (change, reason) => expect(readinessReasons({ ...ready, ...change })).toEqual([reason]));
});
