// What is said of a live test, by what was seen of it.
import { expect, test } from "vitest";
import type { DesiredWay } from "../../../agent/control/trace-protocol.ts";
import { judge, type PeerAnswer } from "./judge.ts";
import type { LiveResult } from "./live-test.ts";
import { UNSEEN_PACKETS } from "./seen-packets.ts";
import type { WirePoint } from "./wire.ts";

const desired: DesiredWay = {
  ...{ name: "/coreos.com/network", place: "peer", knownLeases: 2, carriedBy: "vxlan" },
  ...{ networks: ["10.5.0.0/16"], ownSubnets: ["10.5.1.0/24"], ownDevices: ["flannel.1"] },
  outside: { address: "192.168.50.12", protocol: "udp", port: 8472 },
};
const stations = { outDevice: "flannel.1", outside: { address: "192.168.50.12", device: "eth0" } };

/** How many of three packets each station saw: flannel.1 out, eth0 out, eth0 in, flannel.1 in. */
function pointsOf(seen: readonly number[]): WirePoint[] {
  const points = [
    { device: "flannel.1", direction: "out", packet: "request", form: "plain", packetBytes: 400 },
    { device: "eth0", direction: "out", packet: "request", form: "inside", packetBytes: 450 },
    { device: "eth0", direction: "in", packet: "reply", form: "inside", packetBytes: 450 },
    { device: "flannel.1", direction: "in", packet: "reply", form: "plain", packetBytes: 400 },
  ] as const;
  return points.flatMap((point, at) => ((seen[at] ?? 0) === 0 ? [] : [{ ...point, seen: seen[at] ?? 0 }]));
}

function liveOf(answered: number, seen: readonly number[], more: Partial<LiveResult> = {}): LiveResult {
  return {
    ...{ packetBytes: 400, sent: 3, rttsMs: new Array<number>(answered).fill(1), points: pointsOf(seen) },
    ...{ errors: [], drops: [], grown: [], gaps: [] },
    ...more,
  };
}

const well: PeerAnswer[] = ["underlay", "tunnel", "bridge"].map((name) => ({
  ...{ name, target: "x", sent: 3, answered: 3 },
}));

test("of packets of which some get lost beyond this host it says so, not that nothing comes back", () => {
  const { isLost, verdict } = judge({ desired, peer: well, ...stations, live: liveOf(2, [3, 3, 2, 2]) });
  expect(isLost).toBe(true);
  expect(verdict).toBe("2 of 3 answers came back; the others were lost beyond this host");
});

test("of packets of which some get lost on this host it says where, and how many arrived", () => {
  const onWay = judge({ desired, peer: well, ...stations, live: liveOf(2, [3, 2, 2, 2]) });
  expect(onWay.verdict).toMatch(
    /^2 of 3 answers came back; of the others: went into flannel\.1 and did not leave eth0/,
  );
  const drop = { chain: "inet z f", rule: "drop", packet: "request", isOfTunnel: false, count: 1 } as const;
  const dropped = judge({ desired, peer: well, ...stations, live: liveOf(2, [2, 2, 2, 2], { drops: [drop] }) });
  expect(dropped.verdict).toMatch(/^2 of 3 answers came back; of the others: lost on this host: inet z f drops/);
});

test("of a container of this host that answers in part it does not say that it is down", () => {
  const here = { ...desired, place: "here", carriedBy: undefined, outside: undefined } as const;
  const { verdict } = judge({ desired: here, peer: [], live: liveOf(1, []) });
  expect(verdict).toBe("1 of 3 answers came back; the others were lost in the container, or on the way to it or back");
});

test("what was not seen is not blamed on this host", () => {
  const live = liveOf(0, [3], { gaps: [`${UNSEEN_PACKETS}: too many`] });
  const { hops, verdict } = judge({ desired, peer: well, ...stations, live });
  expect(hops.map(({ text }) => text)).toEqual(["sent by this host", "answer delivered here"]);
  expect(verdict).toMatch(
    /^no answer came back, and where the packets got lost on this host was not seen: the bridge of/,
  );
});

test("of packets that get lost beyond this host it sends people there, unless this host is to be mended first", () => {
  const live = liveOf(0, [3, 3]);
  expect(judge({ desired, peer: well, ...stations, live }).next).toContain("on that host");
  expect(judge({ desired, peer: well, ...stations, live, hasRemedy: true })).not.toHaveProperty("next");
  // The remedy of another fault does not mend the path's MTU.
  const fullSize = { bytes: 1_450, sent: 2, answered: 0 };
  const small = { desired, peer: well, ...stations, live: liveOf(3, [3, 3, 3, 3]), fullSize, hasRemedy: true };
  expect(judge(small).next).toContain("flannelctl peers --wide");
});

test("where some get lost and nothing was seen it blames nobody", () => {
  const live = liveOf(2, [], { gaps: [`${UNSEEN_PACKETS}: too many`] });
  const { verdict } = judge({ desired, peer: well, ...stations, live });
  expect(verdict).toBe("2 of 3 answers came back; where the others were lost was not seen");
});

test("of packets that are all lost it says which station is the first that missed them", () => {
  const verdictOf = (seen: readonly number[]) =>
    judge({ desired, peer: well, ...stations, live: liveOf(0, seen) }).verdict;
  expect(verdictOf([])).toMatch(/^lost on this host before flannel\.1/);
  expect(verdictOf([3])).toMatch(/did not leave eth0/);
  expect(verdictOf([3, 3])).toMatch(/^the packets left this host, and no answer came back to it: the bridge of/);
  expect(verdictOf([3, 3, 3])).toMatch(/not out of flannel\.1/);
  expect(verdictOf([3, 3, 3, 3])).toMatch(/was not delivered/);
});
