import { expect, test } from "vitest";
import { LineSplitter } from "./feed-reader.ts";
import type { PeerItem } from "./messages.ts";
import { lanesOf } from "./topology-lanes.ts";
import { ago, bytes, countStates, describeCounts, describePeer, mtu, mtuTone, until } from "./words.ts";

const peer = (key: string, rest: Partial<PeerItem> = {}): PeerItem => ({ key, subnets: [], state: "up", ...rest });

test("pieces of any length become whole lines", () => {
  const text = '{"a":1}\n\n{"b":2}\n{"c":';
  for (let length = 1; length <= text.length; length++) {
    const splitter = new LineSplitter();
    const lines: string[] = [];
    for (let at = 0; at < text.length; at += length) lines.push(...splitter.add(text.slice(at, at + length)));
    expect(lines).toEqual(['{"a":1}', '{"b":2}']);
    expect(splitter.add("3}\n")).toEqual(['{"c":3}']);
  }
});

test("peers are grouped by the device of their route and the network of their host, the worst first", () => {
  const lanes = lanesOf([
    peer("a", { device: "flannel.1", host: "192.168.1.5" }),
    peer("b", { device: "flannel.1", host: "192.168.1.6", state: "down" }),
    peer("c", { device: "flannel.1", host: "192.168.2.6" }),
    peer("d", { device: "eth0", host: "fd00::1:2" }),
    peer("e", { state: "skipped", host: "<script>" }),
  ]);
  expect(
    lanes.map(({ device, groups }) => [
      device,
      groups.map(({ network, peers }) => [network, peers.map(({ key }) => key).join("")]),
    ]),
  ).toEqual([
    ["eth0", [["fd00::/64", "d"]]],
    [
      "flannel.1",
      [
        ["192.168.1.0/24", "ba"],
        ["192.168.2.0/24", "c"],
      ],
    ],
    [undefined, [[undefined, "e"]]],
  ]);
});

test("many networks behind a device are reported together", () => {
  const peers = Array.from({ length: 30 }, (_, index) => peer(String(index), { device: "x", host: `10.0.${index}.1` }));
  const [lane] = lanesOf([...peers, peer("down", { device: "x", host: "10.9.9.9", state: "down" })]);
  expect(lane?.groups).toHaveLength(8);
  expect(lane?.groups[0]).toMatchObject({ network: "10.9.9.0/24" });
  expect(lane?.groups.at(-1)).toMatchObject({ networks: 24 });
  expect(lane?.groups.at(-1)?.peers).toHaveLength(24);
});

test("values in words", () => {
  const now = Date.parse("2026-01-01T00:01:00Z");
  expect([ago("2026-01-01T00:00:59Z", now), ago("2026-01-01T00:00:00Z", now), ago(undefined, now)]).toEqual([
    "now",
    "1 min ago",
    "–",
  ]);
  expect([until("2026-01-01T01:01:00Z", now), until("2026-01-01T00:00:00Z", now)]).toEqual(["in 1 h", "expired"]);
  expect([bytes(undefined), bytes(999), bytes(2048)]).toEqual(["–", "999 B", "2.0 KiB"]);
  const cut = { mtuBytes: 1450, pathMtu: { overlayBytes: 1300, wholeBytes: 1300 } };
  expect([mtu(cut), mtuTone(cut), mtu({ mtuBytes: 1450 }), mtuTone({ mtuBytes: 1450 })]).toEqual([
    "1300 of 1450",
    "bad",
    "1450",
    "none",
  ]);
  expect(describePeer(peer("k", { host: "h", state: "oneWay", lossRatio: 0.5, reason: "r" }))).toBe(
    "k, host h: one way, r, loss 50.0 %",
  );
  expect(describeCounts(countStates([peer("a"), peer("b", { state: "down" }), peer("c")]))).toBe("1 down, 2 up");
});
