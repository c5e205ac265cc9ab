import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { createLogger } from "./create-logger.ts";
import { Journal, type JournalEntry } from "./journal.ts";

function start(nowMs: () => number = () => 0) {
  const logger = createLogger({ format: "text", verbosity: 0, write: () => undefined });
  const journal = new Journal({ nowMs });
  logger.follow(journal.record);
  return { logger, journal };
}

describe("Journal", () => {
  it("keeps what changed with its cause, also what the log does not show", () => {
    const { logger, journal } = start();
    logger.verbose(2, "lease.seen", () => "leased to 192.0.2.7", {
      ...{ key: "10.5.7.0-24", cause: "lease", revision: "12", by: "192.0.2.7" },
    });
    logger.verbose(4, "host.object", "+ 10.5.7.0/24 dev flannel.1", { cause: "audit" });
    logger.warn("firewall.repaired", "repaired", { count: 1, authors: ["nft (pid 7)", "iptables (pid 8)"] });
    logger.info("agent.reload", "reloading");
    logger.verbose(6, "store.contact", "noise");
    expect(journal.entries().map(({ sequence, event, level, cause }) => [sequence, event, level, cause])).toEqual([
      [1, "lease.seen", "detail", { type: "lease", revision: "12", by: "192.0.2.7" }],
      [2, "host.object", "detail", { type: "audit" }],
      [3, "firewall.repaired", "warn", { type: "notification", by: "nft (pid 7), iptables (pid 8)" }],
      [4, "agent.reload", "info", { type: "operator" }],
    ]);
    expect(journal.entries()[0]).toMatchObject({ message: "leased to 192.0.2.7", fields: { key: "10.5.7.0-24" } });
  });

  it("is bounded, and gives what came after an entry", () => {
    const { logger, journal } = start();
    for (let index = 1; index <= 10_000; index++) logger.info("config.read", `number ${index}`);
    const entries = journal.entries();
    expect(entries.length).toBeGreaterThanOrEqual(2_000);
    expect(entries.length).toBeLessThan(2_501);
    expect(entries.at(-1)).toMatchObject({ sequence: 10_000, message: "number 10000" });
    expect(journal.entries(9_998).map(({ sequence }) => sequence)).toEqual([9_999, 10_000]);
    expect(journal.entries(10_000)).toEqual([]);
  });

  it("keeps 200 details a second, does not make the others, and says how many there were", () => {
    let nowMs = 0;
    let made = 0;
    const { logger, journal } = start(() => nowMs);
    const write = () => logger.verbose(4, "host.object", () => `object ${++made}`);
    for (let index = 0; index < 1_000; index++) write();
    expect([journal.entries().length, made]).toEqual([200, 200]);
    nowMs = 1_500;
    write();
    expect(journal.entries().at(-1)).toMatchObject({ message: "object 201", leftOut: 800 });
  });

  it("tells followers until they go", () => {
    const { logger, journal } = start();
    const told: JournalEntry[] = [];
    const following = journal.follow((entry) => told.push(entry));
    logger.info("config.read", "one");
    following[Symbol.dispose]();
    logger.info("config.read", "two");
    expect(told.map(({ message }) => message)).toEqual(["one"]);
  });

  it("keeps plain JSON of bounded size, whatever it is given", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 3_000 }), fc.anything({ withBigInt: true }), (message, value) => {
        const { logger, journal } = start();
        logger.info("config.read", message, { value, cause: value, by: value, revision: value });
        const text = JSON.stringify(journal.entries());
        expect(JSON.parse(text)).toEqual(journal.entries());
        expect(text.length).toBeLessThan(40_000);
      }),
      propertyRuns(1_000),
    );
  });
});
