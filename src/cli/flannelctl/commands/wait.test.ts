import { expect, test } from "vitest";
import {
  flannelctl,
  healthyStatus,
  notReady,
  replyJson,
  StandInAgent,
  TemporaryDirectory,
} from "../../../../test/support/flannelctl.ts";
import { waitOutputSchema } from "../session/json-output.ts";

test("it waits for an agent to appear and to become ready, saying each reason once", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("s");
  const waiting = flannelctl(["wait", "--timeout", "20", "--socket", socket]);
  let asked = 0;
  await using _ = await StandInAgent.listen(socket, (_path, response) => {
    asked++;
    replyJson(response, asked < 4 ? { ...healthyStatus, ...notReady("no-lease", "no lease yet") } : healthyStatus);
  });
  const { exitCode, stdout, stderr } = await waiting;
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^ready after \d+ s\n$/);
  expect(stderr.split("\n").filter((line) => line === "flannelctl: waiting: no lease yet")).toHaveLength(1);
});

test("an agent that is not ready in time is exit 1, with the reasons as result", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("s");
  await using _ = await StandInAgent.listen(socket, (_path, response) =>
    replyJson(response, { ...healthyStatus, ...notReady("no-lease", "no lease yet") }),
  );
  const plain = await flannelctl(["wait", "--timeout", "0.1", "--socket", socket]);
  expect(plain).toMatchObject({ exitCode: 1, stdout: "not ready after 0 s:\n  no lease yet\n" });
  const json = await flannelctl(["wait", "--timeout", "0", "--socket", socket, "--json"]);
  expect(json).toMatchObject({ exitCode: 1, stderr: "" });
  expect(waitOutputSchema.parse(JSON.parse(json.stdout))).toMatchObject({
    ready: false,
    ...notReady("no-lease", "no lease yet"),
  });
});

test("a degraded agent is waited for no longer, and its reasons are reported", async () => {
  using directory = new TemporaryDirectory();
  const reasons = [{ name: "peer-failed", state: "degraded", message: "one peer" }];
  await using _ = await StandInAgent.listen(directory.file("s"), (_path, response) =>
    replyJson(response, { ...healthyStatus, state: "degraded", reasons }),
  );
  const plain = await flannelctl(["wait", "--socket", directory.file("s")]);
  expect(plain).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^degraded after \d+ s:\n {2}one peer\n$/),
  });
});

test("no agent within the time is exit 1", async () => {
  using directory = new TemporaryDirectory();
  const { exitCode, stdout } = await flannelctl(["wait", "--timeout", "0.05", "--socket", directory.file("s")]);
  expect(exitCode).toBe(1);
  expect(stdout).toContain(`no flanneld listens on ${directory.file("s")}`);
});

test("an agent it cannot understand ends the wait at once", async () => {
  using directory = new TemporaryDirectory();
  await using _ = await StandInAgent.listen(directory.file("s"), (_path, response) => response.end("{}"));
  const { exitCode, stderr } = await flannelctl(["wait", "--socket", directory.file("s")]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("cannot read the answer");
});

test("an interrupt ends the wait with exit 130 and without a word", async () => {
  using directory = new TemporaryDirectory();
  const controller = new AbortController();
  const waiting = flannelctl(["wait", "--json", "--socket", directory.file("s")], { signal: controller.signal });
  controller.abort();
  expect(await waiting).toEqual({ exitCode: 130, stdout: "", stderr: "" });
});
