import { expect, test } from "vitest";
import { flannelctl, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";

const here = { node: process.version, platform: `${process.platform}-${process.arch}` };

test("names itself, Node and the platform, and exits 0 when no agent answers", async () => {
  using directory = new TemporaryDirectory();
  const args = ["version", "--socket", directory.file("none")];
  const json = await flannelctl([...args, "--json"]);
  expect(json).toMatchObject({ exitCode: 0, stderr: "" });
  const agentProblem = `no flanneld listens on ${directory.file("none")}`;
  // From the sources, which no build has stamped with a commit.
  expect(JSON.parse(json.stdout)).toEqual({ version: 1, flannelctl: { version: "1.2.3" }, ...here, agentProblem });
  const text = await flannelctl(args);
  expect(text.exitCode).toBe(0);
  expect(text.stdout).toMatch(/flannelctl +1\.2\.3\n/);
  expect(text.stdout).toContain(`unknown: ${agentProblem}`);
});

test("names the agent's version, also that of an agent whose status it does not know", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("flanneld.sock");
  await using _ = await StandInAgent.listen(socket, (_path, response) => {
    response.end(JSON.stringify({ agent: { version: "9.0.0", pid: 42, name: "x" }, lots: ["of", "news"] }));
  });
  const { exitCode, stdout } = await flannelctl(["version", "--json", "--socket", socket]);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toEqual({
    version: 1,
    flannelctl: { version: "1.2.3" },
    ...here,
    agent: { version: "9.0.0", pid: 42 },
  });
});

test("says why an agent that is there does not answer", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("flanneld.sock");
  await using _ = await StandInAgent.listen(socket, (_path, response) => response.end("{}"));
  const { exitCode, stdout } = await flannelctl(["version", "--json", "--socket", socket]);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout).agentProblem).toContain("cannot read the answer");
});
