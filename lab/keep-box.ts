// With LAB_KEEP=1 the networks of a test stay, with all that runs in them, until you have looked at them.
import { existsSync, rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export const isBoxKept = process.env["LAB_KEEP"] === "1";

/** In the box. */
const goOnFile = "/run/lab-go-on";

/** To be called before a network is taken down. */
export async function keepUntilSeen(): Promise<void> {
  if (!isBoxKept) return;
  process.stderr.write(`the network is kept; in the box \`touch ${goOnFile}\` takes it down\n`);
  while (!existsSync(goOnFile)) await delay(200);
  rmSync(goOnFile);
}
