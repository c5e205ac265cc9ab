// Memory of forwarding tables is used again, but never while the packet thread may still be reading it.
import fc from "fast-check";
import { expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { TableBuffers } from "./table-buffers.ts";

it("gives no buffer that may still be read, and needs no more than are in use and one", () => {
  const steps = fc.array(fc.record({ catchUp: fc.nat(3), bytes: fc.constantFrom(100, 100, 100, 9_000) }), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (list) => {
      const buffers = new TableBuffers();
      const first = buffers.take(100, Number.POSITIVE_INFINITY);
      buffers.publish(first, 0);
      const published = [first];
      let taken = 0;
      for (const { catchUp, bytes } of list) {
        taken = Math.min(published.length - 1, taken + catchUp);
        const buffer = buffers.take(bytes, taken);
        const inUse = published.slice(taken);
        expect(buffer.byteLength).toBeGreaterThanOrEqual(bytes);
        expect(inUse).not.toContain(buffer);
        buffers.publish(buffer, published.length);
        published.push(buffer);
      }
    }),
    propertyRuns(1_000),
  );
});

it("makes nothing new when the pump keeps up, and takes all back when it has ended", () => {
  const buffers = new TableBuffers();
  const seen = new Set<SharedArrayBuffer>();
  for (let generation = 0; generation < 1_000; generation++) {
    const buffer = buffers.take(100 + generation * 3, generation - 1);
    buffers.publish(buffer, generation);
    seen.add(buffer);
  }
  expect(seen.size).toBeLessThanOrEqual(3);
  buffers.freeAll();
  for (let count = 0; count < 2; count++) seen.add(buffers.take(100, 0));
  expect(seen.size).toBeLessThanOrEqual(3);
});
