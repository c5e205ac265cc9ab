// The kernel's own ESP, in a second kernel, since the machine's may have none: packets between two hosts with real charons, policies
// healed, and packets that go on while charon is dead.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInUserModeKernel } from "../../../lab/user-mode-kernel.ts";
import { healed, told } from "./guest.ts";

const guest = fileURLToPath(new URL("ipsec-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 10 * 60_000;
const modules = ["esp4", "xfrm_user", "gcm", "seqiv", "ghash-generic", "authenc", "veth"];

test(
  "carries packets in ESP, is healed, and loses none while charon is dead",
  async () => {
    const output = await runInUserModeKernel(modules, `'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    const kept = { failures: [], esp: true, mtu: 1423, problem: null };
    const peer = { association: "established, AES_GCM_16-128", endpoint: expect.stringMatching(/^192\.168\.1\.\d:/) };
    expect(told(output), output).toMatchObject({
      "host 1": kept,
      "host 2": kept,
      ping: expect.stringContaining(" 0% packet loss"),
      states: expect.stringMatching(/proto esp .* reqid 11.*mode tunnel/s),
      "policy deleted": healed,
      "policies flushed": healed,
      "ping after the damage": expect.stringContaining(" 0% packet loss"),
      "another charon": { healedMs: expect.any(Number) },
      "ping while charon was killed": expect.stringContaining(" 0% packet loss"),
      "ping with the new charon": expect.stringContaining(" 0% packet loss"),
      "status 1": { features: { encryption: "kernel" }, peers: [peer] },
      "status 2": { features: { encryption: "kernel" }, peers: [peer] },
    });
  },
  GUEST_TIMEOUT_MS,
);
