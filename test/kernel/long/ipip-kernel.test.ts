// The ipip backend on a kernel that has ipip (user-mode-linux), since the machine's may have none: whole agents, upstream's forms,
// every object that somebody damages put back, nothing lost over restarts.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";
import { healed, told } from "./guest.ts";

const guest = fileURLToPath(new URL("ipip-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 15 * 60_000;

test(
  "agents connect containers by ipip, heal every object, and lose nothing over restarts",
  async () => {
    const output = await runInSecondKernel(`'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    expect(told(output), output).toMatchObject({
      pairs: 6,
      "largest packet": { arrives: true, largerArrives: false },
      tunl0: true,
      "device deleted": healed,
      "device down": healed,
      "mtu changed": healed,
      "local changed": healed,
      "ttl changed": healed,
      "address deleted": healed,
      "route deleted": healed,
      "route replaced": healed,
      "routes flushed": healed,
      restarts: { lost: [0], isUpgraded: true },
      refused: [],
      "bits per second": expect.any(Number),
      "device of upstream": { isKept: true },
      "device with one peer": { isKept: false },
      "pairs with upstream": 12,
      "upstream's host": { lost: 0, isKept: true },
      "direct routes": [1, 2, 3].map(() => expect.stringContaining("dev eth0")),
      "one host with host-gw": { lost: 0 },
      done: true,
    });
  },
  GUEST_TIMEOUT_MS,
);
