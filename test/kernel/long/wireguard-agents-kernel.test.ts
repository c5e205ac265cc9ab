// The wireguard backend as a whole with the kernel's own WireGuard, in an emulated kernel, since the machine's may have none:
// everything healed, nothing lost over restarts and an upgrade, a new key.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInEmulatedKernel } from "../../../lab/emulated-kernel.ts";
import { healed, told } from "./guest.ts";

const guest = fileURLToPath(new URL("wireguard-agents-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 18 * 60_000;

test(
  "agents connect containers by the kernel's WireGuard, heal every object, and lose nothing over restarts",
  async () => {
    const commands = `LAB_BOX=1 LAB_SECOND_KERNEL=1 '${process.execPath}' '${guest}'`;
    const output = await runInEmulatedKernel(commands, GUEST_TIMEOUT_MS);
    expect(told(output), output).toMatchObject({
      pairs: 4,
      "largest packet": [true, false],
      status: { features: { implementation: "kernel" }, peers: 1 },
      "later version runs": true,
      lost: [0, 0],
      "peer removed": healed,
      "another key": healed,
      "IPv6 routes flushed": healed,
      "device deleted": healed,
      "devices kept": true,
      "another key of the host": { exitCode: 0, lost: expect.any(Number) },
      done: true,
    });
  },
  GUEST_TIMEOUT_MS,
);
