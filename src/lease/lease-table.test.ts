import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { revision } from "../../test/support/revision.ts";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import type { Lease, LeaseChange, LeaseEvent } from "./lease.ts";
import { LeaseTable } from "./lease-table.ts";

function lease(octet: number, publicIp = `192.0.2.${octet}`, order = 1): Lease {
  return {
    key: `10.5.${octet}.0-24`,
    subnet: parsePrefix(`10.5.${octet}.0/24`),
    attributes: { publicIp: parseAddress(publicIp), backendType: "host-gw" },
    revision: revision(order),
    createdAt: revision(1),
    isReservation: false,
    adapterData: 1,
  };
}

function snapshot(leases: Lease[], unreadable: string[] = []): LeaseChange {
  return {
    type: "snapshot",
    leases,
    unreadable: unreadable.map((key) => ({ key, reason: "bad" })),
    revision: revision(10),
  };
}

function changes(...events: LeaseEvent[]): LeaseChange {
  return { type: "changes", changes: events, unreadable: [], revision: revision(11) };
}

const keysOf = (table: LeaseTable) => table.peers().map(({ key }) => key);

describe("LeaseTable", () => {
  it("leaves our own lease out of the peers and reports when it is written", () => {
    const table = new LeaseTable();
    table.setOwnKey(lease(1).key);
    expect(table.apply(snapshot([lease(1), lease(2)]))).toEqual({
      peersChanged: true,
      ownWritten: lease(1),
    });
    expect(keysOf(table)).toEqual(["10.5.2.0-24"]);
    const stolen = lease(1, "192.0.2.99");
    expect(table.apply(changes({ type: "put", lease: stolen })).ownWritten).toBe(stolen);
  });

  it("keeps the object of a lease that was only renewed", () => {
    const table = new LeaseTable();
    const first = lease(2);
    table.apply(snapshot([first]));
    const renewed = { ...lease(2), revision: revision(5), adapterData: 9 };
    expect(table.apply(changes({ type: "put", lease: renewed })).peersChanged).toBe(false);
    expect(table.peers()[0]).toBe(first);
  });

  it("reports changed attributes of a known subnet, in changes and in snapshots", () => {
    const table = new LeaseTable();
    table.apply(snapshot([lease(2)]));
    expect(table.apply(changes({ type: "put", lease: lease(2, "192.0.2.77") })).peersChanged).toBe(true);
    expect(table.apply(snapshot([lease(2, "192.0.2.78")])).peersChanged).toBe(true);
    expect(table.peers()[0]?.attributes.publicIp).toBe("192.0.2.78");
  });

  it("keeps a known lease whose key became unreadable, until it is deleted", () => {
    const table = new LeaseTable();
    table.apply(snapshot([lease(2), lease(3)]));
    table.apply(snapshot([lease(3)], [lease(2).key, "garbage"]));
    expect(keysOf(table)).toEqual(["10.5.2.0-24", "10.5.3.0-24"]);
    expect(table.unreadable().map(({ key }) => key)).toEqual(["10.5.2.0-24", "garbage"]);
    table.apply(changes({ type: "delete", key: lease(2).key, revision: revision(11) }));
    expect(keysOf(table)).toEqual(["10.5.3.0-24"]);
    expect(table.unreadable().map(({ key }) => key)).toEqual(["garbage"]);
  });

  it("says that our own lease is gone, by event and by snapshot", () => {
    const table = new LeaseTable();
    table.setOwnKey(lease(1).key);
    expect(table.apply(snapshot([lease(2)])).ownDeletedAt).toEqual(revision(10));
    table.apply(changes({ type: "put", lease: lease(1) }));
    expect(table.apply(changes({ type: "delete", key: lease(1).key, revision: revision(12) })).ownDeletedAt).toEqual(
      revision(12),
    );
    const both = changes(
      { type: "delete", key: lease(1).key, revision: revision(13) },
      { type: "put", lease: lease(1) },
    );
    expect(table.apply(both)).toEqual({ peersChanged: false, ownWritten: lease(1) });
  });

  it("uses remembered peers only until the first snapshot", () => {
    const table = new LeaseTable();
    table.seed([lease(2)]);
    expect(keysOf(table)).toEqual(["10.5.2.0-24"]);
    expect(table.apply(snapshot([lease(3)])).peersChanged).toBe(true);
    table.seed([lease(4)]);
    expect(keysOf(table)).toEqual(["10.5.3.0-24"]);
  });

  it("ends where a plain map of the same events ends", () => {
    const octet = fc.integer({ min: 1, max: 6 });
    const event = fc.oneof(
      fc.record({ type: fc.constant("put" as const), octet, host: octet }),
      fc.record({ type: fc.constant("delete" as const), octet }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const table = new LeaseTable();
        const model = new Map<string, string>();
        table.apply(snapshot([]));
        for (const e of events) {
          const value = e.type === "put" ? lease(e.octet, `192.0.2.${e.host}`) : lease(e.octet);
          if (e.type === "put") model.set(value.key, `192.0.2.${e.host}`);
          else model.delete(value.key);
          const put: LeaseEvent = { type: "put", lease: value };
          table.apply(changes(e.type === "put" ? put : { type: "delete", key: value.key, revision: revision(11) }));
        }
        const got = new Map(table.peers().map(({ key, attributes }) => [key, String(attributes.publicIp)]));
        expect(got).toEqual(model);
      }),
      propertyRuns(1_000),
    );
  });

  it("keeps the peers that a replaced store lacks, until they are back or forgotten", () => {
    const table = new LeaseTable();
    table.setOwnKey(lease(1).key);
    table.apply(snapshot([lease(1), lease(2), lease(3), lease(4)]));
    const replaced = table.apply({ ...snapshot([lease(4)]), isOtherStore: true } as LeaseChange);
    expect(replaced).toMatchObject({ peersChanged: false, storeReplaced: true, ownDeletedAt: revision(10) });
    expect(keysOf(table).toSorted()).toEqual([lease(2).key, lease(3).key, lease(4).key]);
    expect(table.missingPeers).toBe(2);
    // One is back as it was; another snapshot of this store changes nothing for the other.
    expect(table.apply(changes({ type: "put", lease: lease(2, "192.0.2.2", 20) })).peersChanged).toBe(false);
    table.apply(snapshot([lease(2), lease(4)]));
    expect(keysOf(table).toSorted()).toEqual([lease(2).key, lease(3).key, lease(4).key]);
    expect(table.forgetMissing()).toBe(1);
    expect(keysOf(table).toSorted()).toEqual([lease(2).key, lease(4).key]);
    expect(table.forgetMissing()).toBe(0);
    // What this store had and deletes is gone at once.
    expect(table.apply(changes({ type: "delete", key: lease(4).key, revision: revision(21) })).peersChanged).toBe(true);
    expect(keysOf(table)).toEqual([lease(2).key]);
  });

  it("drops a missing peer whose address has come back with another subnet", () => {
    const table = new LeaseTable();
    table.apply(snapshot([lease(2), lease(3)]));
    table.apply({ ...snapshot([lease(5, "192.0.2.2")]), isOtherStore: true } as LeaseChange);
    expect(keysOf(table).toSorted()).toEqual([lease(3).key, lease(5).key]);
    expect(table.apply(changes({ type: "put", lease: lease(6, "192.0.2.3") })).peersChanged).toBe(true);
    expect(keysOf(table).toSorted()).toEqual([lease(5).key, lease(6).key]);
    expect(table.missingPeers).toBe(0);
  });
});
