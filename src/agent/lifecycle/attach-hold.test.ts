import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { reason } from "./agent-state.ts";
import { AttachHold } from "./attach-hold.ts";
import { HOLD_MS } from "./state-follower.ts";

let directory: string;
let subnetFile: string;
let nowMs = 0;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "attach-"));
  subnetFile = join(directory, "subnet.env");
});
afterEach(() => rmSync(directory, { recursive: true }));

const open = () => new AttachHold(subnetFile, () => nowMs);
const notReady = (...reasons: ReturnType<typeof reason>[]) => ({ state: "notReady" as const, reasons });
const ready = { state: "ready" as const, reasons: [] };
const noLease = reason("no-lease", "no lease\nyet");

function held(): string | undefined {
  try {
    return readFileSync(`${subnetFile}.not-ready`, "utf8");
  } catch {
    return undefined;
  }
}

test("after a boot containers are held back from before the subnet file is written until the agent is ready", () => {
  const hold = open();
  expect(held()).toContain("since it was started");
  hold.follow(notReady(noLease, reason("peer-skipped", "one peer")));
  expect(held()).toBe("no lease yet\n");
  writeFileSync(subnetFile, "x");
  hold.follow(notReady(reason("peers-unknown", "programming peers")));
  expect(held()).toBe("programming peers\n");
  // A subnet file that is newer than the hold would outdate it.
  writeFileSync(subnetFile, "xy");
  utimesSync(subnetFile, new Date(Date.now() + 60_000), new Date(Date.now() + 60_000));
  utimesSync(`${subnetFile}.not-ready`, 1, 1);
  hold.follow(notReady(reason("peers-unknown", "programming peers")));
  expect(statSync(`${subnetFile}.not-ready`).mtimeMs).toBeGreaterThan(1_000);
  rmSync(`${subnetFile}.not-ready`);
  hold.follow(notReady(reason("peers-unknown", "programming peers")));
  expect(held()).toBe("programming peers\n");
  open(); // a restart before it was ready
  expect(held()).toBeDefined();
  hold.follow(ready);
  expect(held()).toBeUndefined();
  hold.follow(notReady(reason("forwarding-off", "off")));
  expect(held()).toBe("off\n");
  hold.release();
  hold.follow(notReady(noLease));
  expect(held()).toBeUndefined();
});

test("a restart holds nobody back, unless something is wrong for longer than a start takes", () => {
  writeFileSync(subnetFile, "x");
  const hold = open();
  hold.follow(notReady(reason("starting", "starting")));
  nowMs += 2 * HOLD_MS;
  const unconfirmed = reason("lease-unconfirmed", "the store is away");
  hold.follow(notReady(unconfirmed));
  nowMs += 2 * HOLD_MS;
  hold.follow(notReady(unconfirmed));
  expect(held()).toBeUndefined();
  hold.follow(notReady(unconfirmed, reason("forwarding-off", "off")));
  expect(held()).toBeUndefined();
  nowMs += HOLD_MS;
  hold.follow(notReady(unconfirmed, reason("forwarding-off", "off")));
  expect(held()).toBe("the store is away; off\n");
  hold.follow(ready);
  expect(held()).toBeUndefined();
});
