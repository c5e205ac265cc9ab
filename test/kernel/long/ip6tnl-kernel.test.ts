// The ipip backend with IPv6 on a kernel that has ip6tnl (user-mode-linux), since the machine's may have none: whole agents, each
// object that somebody damages put back, nothing lost over restarts and an upgrade, near and far hosts.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";
import { healed, told } from "./guest.ts";

const guest = fileURLToPath(new URL("ip6tnl-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 15 * 60_000;

test(
  "agents connect containers over IPv6 by ip6tnl, heal every object, and lose nothing over restarts",
  async () => {
    const output = await runInSecondKernel(`'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    expect(told(output), output).toMatchObject({
      pairs: 12,
      lease: { BackendType: "ipip", PublicIPv6: "fd00:50::11", BackendV6Data: { Tunnel: "ip6tnl" } },
      "largest packets": 2,
      stream: true,
      view: expect.arrayContaining([
        expect.stringMatching(/ip6tnl external .*ip6ip6|ip6tnl ip6ip6 .*external/),
        expect.stringMatching(/encap ip6 id 0 src fd00:50::11 dst fd00:60::13 .* via fd00:5:\S+ .*onlink/),
      ]),
      ip6tnl0: true,
      "device deleted": healed,
      "device down": healed,
      "mtu changed": healed,
      "addresses changed": healed,
      "address deleted": healed,
      "route deleted": healed,
      "route led elsewhere": healed,
      "route replaced": healed,
      "routes flushed": healed,
      refused: [],
      restarts: { lost: [0, 0, 0], isUpgraded: true },
      direct: { plain: [expect.stringContaining("via fd00:50::12 dev eth0")], tunnel: 1 },
      "changes of DirectRouting": { lost: 0 },
      "foreign host": [{ reason: expect.stringContaining("announces no tunnel for IPv6") }],
      "turned off": { ip6tnl: true, ipip: true },
      "cleaned up": 2,
      left: false,
      "IPv6 alone": { pairs: 2, mtuBytes: 1460, hasIpip: false },
      done: true,
    });
  },
  GUEST_TIMEOUT_MS,
);
