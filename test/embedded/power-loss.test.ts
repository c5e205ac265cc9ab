// Power loss: the store runs in a second kernel on a disk of that kernel's own, and the whole kernel is killed under load.
// `kill -9` of the store alone proves nothing of this: what it has written is then safe with the kernel.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { type Guest, GuestDisk } from "./guest.ts";

const LIVES = 8;
const root = join(import.meta.dirname, "../..");
const store = join(root, "dist/flannel-store.mjs");
const client = join(import.meta.dirname, "power-loss-guest.ts");

/** The kernel finds what the machine has in /usr; Node is the one that runs this test. */
function commands(life: number): string {
  const node = `'${process.execPath}' --disable-warning=ExperimentalWarning`;
  return `${node} '${store}' --data-dir /mnt/data --listen 127.0.0.1:2379 &\n${node} '${client}' http://127.0.0.1:2379 ${life}`;
}

/** The words after `@what` of each such line. */
function told(guest: Guest, what: string): string[][] {
  return guest.lines.filter((line) => line.startsWith(`@${what} `)).map((line) => line.split(" ").slice(1));
}

test(`the power fails ${LIVES} times under load: nothing acknowledged is lost, nothing is invented`, {
  timeout: 1_200_000,
}, async () => {
  await using disk = await GuestDisk.create();
  const acknowledged = new Map<string, string>();
  let appended = 0;
  let lostAppends = 0;
  for (let life = 0; life <= LIVES; life++) {
    await using guest = await disk.boot(commands(life));
    await guest.says("@control");
    const found = told(guest, "found");
    for (const [key, revision, state] of found) expect(state, `${key} at ${revision}`).toBe("whole");
    const revisions = new Map(found.map(([key = "", revision = ""]) => [key, revision]));
    const missing = [...acknowledged].filter(([key, revision]) => revisions.get(key) !== revision);
    expect(missing.slice(0, 5), `acknowledged, but ${missing.length} are not there in life ${life}`).toEqual([]);
    // No revision is skipped or doubled: each belongs to one key, none comes back with another meaning.
    const sorted = [...revisions.values()].map(Number).sort((a, b) => a - b);
    expect(sorted).toEqual(Array.from({ length: sorted.length }, (_, index) => index + 2));
    expect(told(guest, "revision")).toEqual([[String(sorted.length + 1)]]);
    for (const [key = "", revision = ""] of found) acknowledged.set(key, revision);
    lostAppends += appended - Number(told(guest, "control")[0]?.[0]);
    if (life === LIVES) break;
    await guest.says(`@acknowledged life${life}-`);
    // At any moment, in the middle of whatever it is.
    await delay(Math.random() * 2_000);
    await guest.kill();
    for (const [key = "", revision = ""] of told(guest, "acknowledged")) acknowledged.set(key, revision);
    appended = Number(told(guest, "control")[0]?.[0]) + guest.lines.filter((line) => line === "@appended").length;
  }
  expect(acknowledged.size).toBeGreaterThan(100);
  // The control: what was written without a sync did not survive, so these were power losses.
  expect(lostAppends).toBeGreaterThan(0);
});
