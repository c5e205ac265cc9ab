import fc from "fast-check";
import { expect, test } from "vitest";
import { propertyRuns } from "../../../../test/support/fuzz.ts";
import type { FeedMessage, PeerItem, PlanItem } from "../../../dashboard/messages.ts";
import { Model } from "../../../dashboard/model.ts";
import { Board, MAX_TEXT_LENGTH } from "./board.ts";

const peer = (key: string, lossRatio = 0): PeerItem => ({ key, subnets: [], state: "up", lossRatio });

class Client {
  readonly model = new Model();
  #version = 0;

  read(board: Board): FeedMessage | undefined {
    const news = board.since(this.#version);
    if (news === undefined) return undefined;
    expect(news.text.endsWith("}\n")).toBe(true);
    this.#version = news.version;
    const message = JSON.parse(news.text) as FeedMessage;
    this.model.apply(message);
    return message;
  }
}

test("a client is sent everything once, then what changed alone", () => {
  const board = new Board();
  const client = new Client();
  expect(client.read(board)).toBeUndefined();
  board.replace(
    "peer",
    "a",
    new Map([
      ["1", peer("1")],
      ["2", peer("2")],
    ]),
  );
  board.addEntry({ at: "2026-01-01T00:00:00Z", event: "x", level: "info", message: "m" });
  expect(client.read(board)).toMatchObject({
    ...{ isWhole: true, entries: [{ id: 1 }] },
    items: [
      ["peer", "a", "1", { key: "1" }],
      ["peer", "a", "2", { key: "2" }],
    ],
  });
  board.replace(
    "peer",
    "a",
    new Map([
      ["1", peer("1")],
      ["2", peer("2", 0.5)],
    ]),
  );
  expect(client.read(board)).toEqual({ items: [["peer", "a", "2", peer("2", 0.5)]] });
  board.replace(
    "peer",
    "a",
    new Map([
      ["1", peer("1")],
      ["2", peer("2", 0.5)],
    ]),
  );
  expect(client.read(board)).toBeUndefined();
  board.keepNetworks([]);
  expect(client.read(board)?.items).toEqual([
    ["peer", "a", "1", null],
    ["peer", "a", "2", null],
  ]);
});

test("a plan that is read before anything else of its network is kept", () => {
  const board = new Board();
  const client = new Client();
  const plan: PlanItem = { desired: ["x"], desiredCount: 1, difference: [], differenceCount: 0 };
  board.set("plan", "a", plan);
  client.read(board);
  board.replace("peer", "a", new Map([["1", peer("1")]]));
  client.read(board);
  expect(client.model.networks.get("a")).toMatchObject({ plan, peers: new Map([["1", peer("1")]]) });
  board.keepNetworks([]);
  client.read(board);
  expect([...client.model.networks]).toEqual([]);
});

test("peers that are sent as a whole again have a version that was not drawn before", () => {
  const board = new Board();
  const model = new Model();
  const versionOf = () => {
    model.apply(JSON.parse(board.since(0)?.text ?? "") as FeedMessage);
    return model.networks.get("a")?.peersVersion;
  };
  board.set("peer", "a", peer("1"), "1");
  const first = versionOf();
  board.set("peer", "a", peer("1", 0.5), "1");
  expect(versionOf()).not.toBe(first);
});

test("text from elsewhere is printable and bounded", () => {
  const board = new Board();
  const hostile = `\u001b[2J<script>alert(1)</script>\u202e${"x".repeat(10_000)}`;
  board.set("peer", hostile, { ...peer(hostile), reason: hostile }, hostile);
  board.set("row", hostile, { name: hostile, seen: { [hostile]: { state: "down", reason: hostile } } }, hostile);
  board.addEntry({ at: hostile, event: hostile, level: "info", message: hostile });
  const { text = "" } = board.since(0) ?? {};
  const texts = JSON.stringify(JSON.parse(text));
  for (const harmful of ["\u001b", "\\u001b\\", "\u202e"]) expect(text).not.toContain(harmful);
  expect(texts).toContain("\\\\x1b[2J<script>alert(1)</script>\\\\u202e");
  expect(text.length).toBeLessThan(13 * (MAX_TEXT_LENGTH + 200));
});

test("clients that read when they like know in the end what the board has", () => {
  const key = fc.constantFrom("1", "2", "3");
  const network = fc.constantFrom("a", "b");
  const step = fc.oneof(
    fc.record({ type: fc.constant("set" as const), network, key, value: fc.nat(3) }),
    fc.record({ type: fc.constant("replace" as const), network, keys: fc.uniqueArray(key) }),
    fc.record({ type: fc.constant("keep" as const), networks: fc.uniqueArray(network) }),
    fc.record({ type: fc.constant("read" as const), client: fc.nat(2) }),
  );
  const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const board = new Board();
    const clients = [new Client(), new Client(), new Client()];
    const truth = new Map<string, PeerItem>();
    for (const each of steps) {
      if (each.type === "read") clients[each.client]?.read(board);
      else if (each.type === "set") {
        board.set("peer", each.network, peer(each.key, each.value), each.key);
        truth.set(`${each.network} ${each.key}`, peer(each.key, each.value));
      } else if (each.type === "replace") {
        board.replace("peer", each.network, new Map(each.keys.map((name) => [name, peer(name)])));
        for (const name of [...truth.keys()]) if (name.startsWith(each.network)) truth.delete(name);
        for (const name of each.keys) truth.set(`${each.network} ${name}`, peer(name));
      } else {
        board.keepNetworks(each.networks);
        for (const name of [...truth.keys()])
          if (!each.networks.some((kept) => name.startsWith(kept))) truth.delete(name);
      }
    }
    for (const client of clients) {
      client.read(board);
      const known = [...client.model.networks.values()].flatMap(({ name, peers }) =>
        [...peers].map(([id, item]) => [`${name} ${id}`, item] as const),
      );
      expect(new Map(known)).toEqual(truth);
      const networks = new Set([...truth.keys()].map((name) => name.split(" ")[0]));
      expect(new Set(client.model.networks.keys())).toEqual(networks);
    }
  });
  fc.assert(property, propertyRuns(5_000));
});
