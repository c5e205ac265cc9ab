// A notification of the kernel that no decoder can take apart: it counts as lost, is logged once, and whoever follows hears on.
import { afterEach, expect, it, vi } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { AttributeReader } from "../../src/netlink/attribute-reader.ts";
import { NfTablesMonitor } from "../../src/netlink/nftables/nf-tables-monitor.ts";
import { RtnetlinkMonitor } from "../../src/netlink/rtnetlink/monitor.ts";
import type { Logger } from "../../src/telemetry/logger.ts";
import { recordingLogger } from "../support/host-fixture.ts";

interface Heard {
  readonly logger: Logger;
  readonly onOverflow: () => void;
  readonly onNews: () => void;
}

const followings: readonly (readonly [string, (heard: Heard) => Disposable, make: string, undo: string])[] = [
  [
    "rtnetlink",
    ({ onNews, ...heard }) => new RtnetlinkMonitor().follow({ ...heard, kinds: ["link"], onMessages: onNews }),
    "ip link add dev d0 type bridge",
    "ip link del dev d0",
  ],
  [
    "nftables",
    ({ onNews, ...heard }) => new NfTablesMonitor().follow({ ...heard, interestIn: () => undefined, onCommit: onNews }),
    "nft add table inet z",
    "nft delete table inet z",
  ],
];

afterEach(() => vi.restoreAllMocks());

it.each(followings)("%s", async (_, follow, make, undo) => {
  const { logger, lines } = recordingLogger();
  const heard = { overflows: 0, news: 0 };
  using _following = follow({
    logger,
    onOverflow: () => void heard.overflows++,
    onNews: () => void heard.news++,
  });
  const undecodable = vi.spyOn(AttributeReader.prototype, "next");
  for (const round of [1, 2]) {
    undecodable.mockImplementationOnce(() => {
      throw new RangeError("Offset is outside the bounds of the DataView");
    });
    await box.run(["sh", "-c", make]);
    await until(() => heard.overflows === round, { what: "the loss" });
    const before = heard.news;
    await box.run(["sh", "-c", undo]);
    await until(() => heard.news > before, { what: "what comes after it" });
  }
  expect(heard.overflows).toBe(2);
  const told = lines.filter(({ event }) => event === "host.notice-failed");
  expect(told).toHaveLength(1);
});
