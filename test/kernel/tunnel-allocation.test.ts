// The packet path allocates nothing for a packet, in either direction, whatever the packet is: thousands of them leave
// the heap as it was.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { run } from "../../lab/command.ts";

const probe = fileURLToPath(new URL("../support/allocation-probe.ts", import.meta.url));

/** Calls of libc take an address as a boxed number of 16 bytes: a few for each batch, none for a packet. */
const BYTES_FOR_EACH = 4;

interface Report {
  readonly bytes: Readonly<Record<string, number>>;
  readonly carried: Readonly<Record<string, number>>;
  readonly dropped: Readonly<Record<string, number>>;
}

test("no kind of packet makes the heap grow", async () => {
  const { bytes, carried, dropped } = JSON.parse(
    await run([process.execPath, probe], { timeoutMs: 240_000 }),
  ) as Report;
  const kindsThatAllocate = Object.entries(bytes).filter(([, each]) => each >= BYTES_FOR_EACH);
  expect(Object.keys(bytes)).toHaveLength(10);
  expect(kindsThatAllocate).toEqual([]);
  for (const count of [carried["sentPackets"], carried["receivedPackets"]]) expect(count).toBeGreaterThan(500_000);
  for (const reason of ["unknownSender", "foreignSource", "ttlExpired", "malformed"])
    expect(dropped[reason], reason).toBeGreaterThan(200_000);
});
