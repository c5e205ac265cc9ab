import { expect, test } from "vitest";
import { flannelctl, replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { planOutputSchema } from "../session/json-output.ts";

const desired = ["flannel.1 mtu 1450 type vxlan id 1", "10.5.9.0/24 via 10.5.9.0 dev flannel.1 onlink"];

async function planOf(plan: object, ...argv: string[]) {
  using directory = new TemporaryDirectory();
  await using agent = await StandInAgent.listen(directory.file("s"), (_path, response) =>
    replyJson(response, { networks: [{ name: "n", ...plan }] }),
  );
  const result = await flannelctl(["plan", "--socket", directory.file("s"), ...argv]);
  expect(agent.requests).toEqual(["GET /v2/plan"]);
  return result;
}

test("plan prints the desired state and says that the kernel agrees", async () => {
  const { exitCode, stdout } = await planOf({ desired, difference: [] });
  expect(exitCode).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "# desired host state (2 objects)",
    ...desired,
    "",
    "# the kernel matches it",
    "",
  ]);
});

test("plan prints what would be changed", async () => {
  const { exitCode, stdout } = await planOf({ desired, difference: [`+ ${desired[1]}`] });
  expect(exitCode).toBe(0);
  expect(stdout).toContain(`# the kernel differs: 1 change to make\n+ ${desired[1]}\n`);
});

test("plan --json is by the published schema; without an agent it exits 3", async () => {
  const { stdout } = await planOf({ desired, difference: [] }, "--json");
  expect(planOutputSchema.parse(JSON.parse(stdout))).toEqual({ networks: [{ name: "n", desired, difference: [] }] });
  expect(await flannelctl(["plan", "--socket", "/nonexistent/s"])).toMatchObject({ exitCode: 3, stdout: "" });
});
