// `flannelctl trace` against real packets of IP in IP and of the kernel's WireGuard in second kernels, since the machine's may have
// neither: every hop is seen, and each way in which the way breaks is called what it is, and no more.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInEmulatedKernel } from "../../../lab/emulated-kernel.ts";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";
import type { Traced } from "../../support/trace-faults.ts";
import { told } from "./guest.ts";

const ipipGuest = new URL("trace-guest.ts", import.meta.url);
const wireguardGuest = new URL("trace-wireguard-guest.ts", import.meta.url);
const runs = (guest: URL): string => `'${process.execPath}' '${fileURLToPath(guest)}'`;
const GUEST_TIMEOUT_MS = 15 * 60_000;

/** What the guest says of each way. Fails where it did not come to its end. */
function tracesIn(output: string): (name: string) => Traced {
  const all = told(output) as Readonly<Record<string, Traced>>;
  expect(all["done"], output).toBe(true);
  return (name) => {
    const found = all[name];
    if (found === undefined) throw new Error(`the guest says nothing of ${name}: ${output}`);
    return found;
  };
}

test(
  "ipip",
  async () => {
    const of = tracesIn(await runInSecondKernel(runs(ipipGuest), GUEST_TIMEOUT_MS));
    expect(of("whole")).toMatchObject({ exitCode: 0, troubles: [] });
    expect(of("whole").hops).toEqual([
      "sent by this host 3/3",
      "left flannel.ipip here 3/3",
      expect.stringMatching(/^left eth0 here, ipip to 192\.168\.50\.12 \(IP in IP, \d+ bytes\) 3\/3$/),
      expect.stringMatching(/^answer arrived at eth0 here \(IP in IP, \d+ bytes\) 3\/3$/),
      "answer came out of flannel.ipip here 3/3",
      "answer delivered here 3/3",
    ]);
    expect(of("no route to the peer's host")).toMatchObject({
      exitCode: 1,
      cause: "192.168.50.12 unreachable",
      verdict: expect.stringMatching(/^lost on this host: the kernel has no way to 192\.168\.50\.12/),
    });
    expect(of("own firewall").verdict).toMatch(/went into flannel\.ipip and did not leave eth0: lost on this host/);
    const inside = expect.stringMatching(
      /192\.168\.50\.12 answers outside of the tunnel and nothing inside does: .* its flannel device is missing or down/,
    );
    for (const name of ["the peer's firewall", "the peer's device down"]) {
      expect(of(name)).toMatchObject({ exitCode: 1, verdict: inside, next: expect.stringContaining("on that host") });
    }
    for (const name of ["the peer's rp_filter", "the peer does not forward"]) {
      expect(of(name).verdict).toMatch(/does not forward to it \(forwarding, rp_filter, a rule\)/);
    }
    expect(of("the peer is away").verdict).toMatch(/does not answer outside of the tunnel either/);
  },
  GUEST_TIMEOUT_MS,
);

test(
  "the kernel's WireGuard",
  async () => {
    const commands = `LAB_BOX=1 LAB_SECOND_KERNEL=1 ${runs(wireguardGuest)}`;
    const of = tracesIn(await runInEmulatedKernel(commands, GUEST_TIMEOUT_MS));
    expect(of("whole")).toMatchObject({ exitCode: 0, troubles: [] });
    // A slow guest sends fewer than three in the time.
    expect(of("whole").hops.map((hop) => hop.replace(/ (\d)\/\1$/, ""))).toEqual([
      "sent by this host",
      "left flannel-wg here",
      expect.stringMatching(
        /^left eth0 here, wireguard, UDP port 51820, to 192\.168\.50\.12 \(UDP 51820 > 51820, \d+ bytes\)$/,
      ),
      expect.stringMatching(/^answer arrived at eth0 here \(UDP 51820 > 51820, \d+ bytes\)$/),
      "answer came out of flannel-wg here",
      "answer delivered here",
    ]);
    // Where a slow guest gives the trace of rules no time, the rule is named as the cause.
    const { verdict, cause = "" } = of("own firewall");
    expect(verdict).toMatch(/lost on this host/);
    expect(`${verdict} ${cause}`).toMatch(/OUTPUT.* rule "udp dport 51820 drop"/);
    expect(of("another key there")).toMatchObject({
      exitCode: 1,
      verdict: expect.stringMatching(
        /answers outside of the tunnel and nothing inside does: .* its device is missing or down, or it has another key/,
      ),
    });
    expect(of("the peer does not forward").verdict).toMatch(/192\.168\.50\.12 does not forward to it/);
  },
  GUEST_TIMEOUT_MS,
);
