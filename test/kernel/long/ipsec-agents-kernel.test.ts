// The ipsec backend as a whole on a kernel that has ESP (user-mode-linux), since the machine's may have none: three hosts of ours
// and upstream's own program, everything healed, nothing lost over restarts, an upgrade and another key.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";
import { healed, told } from "./guest.ts";

const guest = fileURLToPath(new URL("ipsec-agents-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 15 * 60_000;
const modules = "esp4 xfrm_user gcm seqiv ghash-generic authenc";

test(
  "agents connect containers by ESP, heal policies and keys, lose nothing over restarts, and leave nothing",
  async () => {
    const commands = `modprobe -a ${modules}; '${process.execPath}' '${guest}'`;
    const output = await runInSecondKernel(commands, GUEST_TIMEOUT_MS);
    expect(told(output), output).toMatchObject({
      pairs: 6,
      "largest packet": [true, false],
      stream: true,
      "policy deleted": healed,
      "policy led elsewhere": healed,
      "policy blocks": healed,
      "policy left behind": healed,
      "policies flushed": healed,
      "one key deleted": healed,
      "keys flushed": healed,
      "connections unloaded": healed,
      "all unloaded": healed,
      restarts: { lost: [0, 0], isUpgraded: true },
      "another PSK": { lost: 0 },
      "refused after the change": 0,
      "pairs with upstream": 12,
      UDPEncap: true,
      "left by ipsec": { policies: "", states: false, charon: false },
      "left by host-gw": false,
      // Three for each of two peers of ours, and of the host with upstream's lease.
      "again with ipsec": 9,
      // New keys are agreed upon meanwhile, which takes a slow guest long; a stopped charon takes its keys with it.
      "charon killed": { healedMs: expect.any(Number), lost: expect.any(Number) },
      "charon stopped": { healedMs: expect.any(Number), lost: expect.any(Number) },
      "secrets said": 0,
      done: true,
    });
  },
  GUEST_TIMEOUT_MS,
);
