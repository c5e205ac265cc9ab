// The kernel's own WireGuard, in an emulated kernel, since the machine's may have none: our messages against what `wg` says,
// packets of both families, and everything that somebody damages put back.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInEmulatedKernel } from "../../../lab/emulated-kernel.ts";
import { healed, told } from "./guest.ts";

const guest = fileURLToPath(new URL("wireguard-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 15 * 60_000;

test(
  "has the device and 501 peers as planned, carries packets, and is healed",
  async () => {
    const output = await runInEmulatedKernel(`'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    expect(told(output), output).toMatchObject({
      "host 1": { failures: [] },
      "host 2": { failures: [] },
      link: [{ mtu: 1420, linkinfo: { info_kind: "wireguard" } }],
      device: {
        line: expect.stringMatching(/\t51820\toff$/),
        peers: 501,
        first: expect.stringContaining("\t192.168.1.2:51820\t10.5.2.0/24,fd00:5:2::/64\t"),
        last: expect.stringContaining("\t192.168.1.9:51820\t10.6.7.204/30,fd00:6:1f3::/64\t"),
      },
      ping: expect.stringContaining(" 0% packet loss"),
      ping6: expect.stringContaining(" 0% packet loss"),
      "peer removed": healed,
      "allowed IPs changed": healed,
      "endpoint changed": healed,
      "pre-shared key taken away": healed,
      "foreign peer added": healed,
      "port changed": healed,
      "key taken away": healed,
      "device deleted": healed,
      "ping at the end": expect.stringContaining(" 0% packet loss"),
    });
  },
  GUEST_TIMEOUT_MS,
);
