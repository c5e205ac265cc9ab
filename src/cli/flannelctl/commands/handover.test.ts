import { expect, test } from "vitest";
import { flannelctl, replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { handoverOutputSchema } from "../session/json-output.ts";

test("a running agent is asked to rewrite its routes", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("s");
  await using agent = await StandInAgent.listen(socket, (_path, response) =>
    replyJson(response, { networks: [{ name: "n", rewrittenRoutes: 2, releasedDevices: ["flannel0"] }] }),
  );
  const plain = await flannelctl(["handover", "--socket", socket]);
  expect(plain).toMatchObject({ exitCode: 0, stderr: "" });
  expect(plain.stdout).toBe(
    "rewrote 2 routes as plain; flannel0 goes when this flanneld stops: stop this flanneld, then start upstream's\n",
  );
  expect(agent.requests).toEqual(["POST /v2/handover"]);
  const { stdout } = await flannelctl(["handover", "--socket", socket, "--json"]);
  expect(handoverOutputSchema.parse(JSON.parse(stdout))).toEqual({
    networks: [{ name: "n", rewrittenRoutes: 2, releasedDevices: ["flannel0"] }],
    through: "agent",
  });
});

test("an agent that refuses is exit 1", async () => {
  using directory = new TemporaryDirectory();
  await using _ = await StandInAgent.listen(directory.file("s"), (_path, response) =>
    replyJson(response, { error: { code: "INTERNAL", message: "no network yet" } }, 500),
  );
  const { exitCode, stderr } = await flannelctl(["handover", "--socket", directory.file("s")]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("no network yet");
});
