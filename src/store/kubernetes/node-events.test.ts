import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../../../lab/wait.ts";
import { KubeApiServer } from "../../../test/support/kube-api-server.ts";
import { ApiClient } from "../../kube-api/api-client.ts";
import { openAccess } from "../../kube-api/open-access.ts";
import { NodeEvents } from "./node-events.ts";

const { signal } = new AbortController();
let server: KubeApiServer;
let client: ApiClient;
let nowMs: number;
let events: NodeEvents;

beforeEach(async () => {
  server = await KubeApiServer.start();
  client = new ApiClient(await openAccess({ apiUrl: server.url }, {}), {}, "test");
  nowMs = 0;
  events = new NodeEvents(client, () => nowMs);
});

afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

const told = () => server.events.map(({ message }) => message);
const asked = () => server.requests.filter(({ method }) => method === "POST").length;

const warn = (message: string) => events.send("n1", { type: "Warning", reason: "FlannelNotReady", message }, signal);

async function untilAsked(count: number): Promise<void> {
  await until(() => asked() === count, { what: `${count} requests` });
  // The answer has come when a later one has.
  await client.call({ operation: "x", verb: "get", resource: "nodes", method: "GET", path: "/api/v1/nodes" }, signal);
}

it("tells the same once an hour, and other words not more often than every ten seconds", async () => {
  warn("a");
  await untilAsked(1);
  for (nowMs = 1_000; nowMs < 10_000; nowMs += 1_000) warn(`a ${nowMs}`);
  nowMs = 10_000;
  warn("b");
  await untilAsked(2);
  events.send("n1", { type: "Normal", reason: "FlannelIsUp", message: "up" }, signal);
  await untilAsked(3);
  nowMs += 60_000;
  warn("c");
  await untilAsked(4);
  nowMs += 3_599_000;
  warn("c");
  nowMs += 1_000;
  warn("c");
  await untilAsked(5);
  expect(told()).toEqual(["a", "b", "up", "c", "c"]);
});

it.each([401, 403])("asks again ten minutes after HTTP %d, and tells when the right is given", async (status) => {
  server.refusals = [{ verb: "create", resource: "events", status }];
  warn("a");
  const first = status === 401 ? 2 : 1;
  await untilAsked(first);
  for (nowMs = 1_000; nowMs < 600_000; nowMs += 1_000) warn("a");
  server.refusals = [];
  nowMs = 600_000;
  warn("a");
  await untilAsked(first + 1);
  expect(told()).toEqual(["a"]);
});

it("tells later what an outage kept it from telling", async () => {
  server.refusals = [{ verb: "create", resource: "events", status: 500 }];
  warn("a");
  await until(() => asked() > 0, { what: "a request" });
  server.refusals = [];
  await until(
    () => {
      nowMs += 10_000;
      warn("a");
      return told().length > 0;
    },
    { what: "the Event" },
  );
  expect(told()).toEqual(["a"]);
});
