// `flannelctl doctor` on a kernel that has bonds, VRFs and delays (user-mode-linux), and limits that are of a whole machine.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";

const guest = fileURLToPath(new URL("doctor-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 10 * 60_000;

test(
  "hosts with a bond, a VRF or a slow network give no finding; full tables do",
  async () => {
    const output = await runInSecondKernel(`'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    const told: Record<string, unknown> = {};
    for (const line of output.split(/\r?\n/)) if (line.startsWith("{")) Object.assign(told, JSON.parse(line));
    expect(told, output).toMatchObject({
      bond: { codes: [] },
      vrf: { codes: [] },
      delay: { codes: [] },
      "conntrack-full": { codes: ["conntrack-full"] },
      "neighbour-gc": ["neighbour-gc"],
      done: true,
    });
  },
  GUEST_TIMEOUT_MS,
);
