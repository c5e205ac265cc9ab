import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { parseAddress } from "../../ip/address.ts";
import { fdbKind, type HostFdbEntry } from "../kinds/fdb.ts";
import type { HostState } from "../kinds/host-state.ts";
import { HostTable } from "./host-table.ts";

function entry(i: number, destination = "192.0.2.1"): HostFdbEntry {
  const mac = `0a:00:00:00:00:${i.toString(16).padStart(2, "0")}`;
  return { device: "flannel.1", mac, destination: parseAddress(destination) };
}

function state(...fdb: readonly HostFdbEntry[]): HostState {
  return { fdb };
}

function desiredOf(table: HostTable): HostFdbEntry[] {
  return [...table.slots(fdbKind)].flatMap((slot) => slot.desired ?? []);
}

describe("what is wanted", () => {
  test("only what changed is touched, wherever it stands", () => {
    const table = new HostTable();
    const entries = Array.from({ length: 100 }, (_, i) => entry(i));
    expect(table.setDesired(state(...entries))).toHaveLength(100);
    expect(table.setDesired(state(...entries))).toEqual([]);
    const grown = entries.toSpliced(50, 0, entry(200));
    expect(table.setDesired(state(...grown)).map((slot) => slot.key)).toEqual(["flannel.1 0a:00:00:00:00:c8"]);
    expect(table.setDesired(state(...grown.toSpliced(7, 1)))).toHaveLength(1);
  });

  test("of two that claim one key the survivor is found when the other goes", () => {
    const table = new HostTable();
    const [first, second] = [entry(1, "192.0.2.1"), entry(1, "192.0.2.2")];
    table.setDesired(state(first, second));
    expect(desiredOf(table)).toEqual([second]);
    table.setDesired(state(first));
    expect(desiredOf(table)).toEqual([first]);
  });

  test("any sequence of lists ends as the last one says", () => {
    const pool = Array.from({ length: 6 }, (_, i) => [entry(i, "192.0.2.1"), entry(i, "192.0.2.2")]).flat();
    const lists = fc.array(fc.array(fc.constantFrom(...pool), { maxLength: 10 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(lists, (sequence) => {
        const table = new HostTable();
        for (const list of sequence) {
          const before = new Map([...table.slots(fdbKind)].map((slot) => [slot, slot.desired]));
          const touched = new Set(table.setDesired(state(...list)));
          for (const slot of table.slots(fdbKind)) {
            if (before.get(slot) !== slot.desired) expect(touched).toContain(slot);
          }
        }
        const last = new Map((sequence.at(-1) ?? []).map((wanted) => [wanted.mac, wanted]));
        expect(new Set(desiredOf(table))).toEqual(new Set(last.values()));
      }),
      propertyRuns(2_000),
    );
  });
});

test("what is found is replaced as a whole; every slot it concerns is reported", () => {
  const table = new HostTable();
  const told: string[] = [];
  const look = (...found: readonly HostFdbEntry[]): void => {
    told.length = 0;
    table.setObserved(fdbKind, found, (slot) => told.push(slot.key.slice(-2)));
  };
  look(entry(1), entry(2));
  expect(told).toEqual(["01", "02"]);
  look(entry(2), entry(3));
  expect(told).toEqual(["02", "03", "01"]);
  expect(table.get(fdbKind, "flannel.1 0a:00:00:00:00:01")?.observed).toBeUndefined();
});
