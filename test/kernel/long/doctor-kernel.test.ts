// `flannelctl doctor` where the machine's own kernel cannot go: bonds, VRFs and delay, in user-mode-linux. Hosts in order give no finding,
// however odd; and full tables of the kernel, whose limits are those of a whole machine, are named.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";
import { told } from "./guest.ts";

const guest = fileURLToPath(new URL("doctor-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 15 * 60_000;

test(
  "odd hosts in order give no finding, and probes find their peers",
  async () => {
    const output = await runInSecondKernel(`'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    // Beside other work on this machine an answer may take long.
    const up = { codes: [], states: [expect.stringMatching(/^(?:up|slow)$/)] };
    expect(told(output), output).toMatchObject({
      ...{ bond: up, "bond with one port down": up, plain: up, "a VRF beside": up },
      ...{ "conntrack full": { codes: ["conntrack-full"] }, "neighbours full": { codes: ["neighbour-gc"] } },
      ...{ "delay of 200 ms": { codes: [], states: ["slow"] }, jitter: { codes: [] }, reordering: { codes: [] } },
      ...{ "VRF with the underlay inside": up, done: true },
    });
  },
  GUEST_TIMEOUT_MS,
);
