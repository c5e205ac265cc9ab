// `flannelctl trace` against real packets of IP in IP in a second kernel, since the machine's may have none: every hop is seen, and each
// way in which the way breaks is called what it is, and no more.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { runInSecondKernel } from "../../../lab/second-kernel.ts";
import type { Traced } from "../../support/trace-faults.ts";
import { told } from "./guest.ts";

const guest = fileURLToPath(new URL("trace-guest.ts", import.meta.url));
const GUEST_TIMEOUT_MS = 15 * 60_000;

test(
  "ipip",
  async () => {
    const output = await runInSecondKernel(`'${process.execPath}' '${guest}'`, GUEST_TIMEOUT_MS);
    const all = told(output) as Readonly<Record<string, Traced>>;
    const of = (name: string): Traced => {
      const found = all[name];
      if (found === undefined) throw new Error(`the guest says nothing of ${name}: ${output}`);
      return found;
    };
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
    expect(all["done"], output).toBe(true);
  },
  GUEST_TIMEOUT_MS,
);
