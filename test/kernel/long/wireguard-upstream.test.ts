// Upstream's flanneld, the real one, beside ours with the kernel's own WireGuard, which an emulated kernel has: hosts of both kinds
// reach each other, and a host goes from one to the other and back, in both orders.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInEmulatedKernel } from "../../../lab/emulated-kernel.ts";
import { upstreamProgram } from "../../../lab/upstream-program.ts";

const guest = fileURLToPath(new URL("wireguard-upstream-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 18 * 60_000;

test(
  "hosts of upstream's and of ours are one network, and take over from each other",
  async () => {
    const commands = `LAB_BOX=1 '${process.execPath}' '${guest}' '${upstreamProgram()}'`;
    const output = await runInEmulatedKernel(commands, GUEST_TIMEOUT_MS);
    const told: Record<string, unknown> = {};
    for (const line of output.split(/\r?\n/)) if (line.startsWith("{")) Object.assign(told, JSON.parse(line));
    expect(told, output).toEqual({
      mixed: "all pairs",
      // Killed, upstream leaves its devices; told to stop, it deletes them.
      "killed upstream to ours": { lost: [0, 0], isKept: true, isSame: true },
      "h1 ours": "all pairs",
      // Upstream has a session with a new key only when there are packets to send: it may be named as pending.
      "rotated beside upstream": {
        exitCode: expect.any(Number),
        said: expect.stringContaining("the key of this host is"),
      },
      "h3 with another key": "all pairs",
      "h1 upstream again": "all pairs",
      "stopped upstream to ours": "all pairs",
      "ours to upstream": { isSame: true },
      "h3 upstream": "all pairs",
      "and back": { isSame: true },
      "h3 ours again": "all pairs",
    });
  },
  GUEST_TIMEOUT_MS,
);
