import { expect, test } from "vitest";
import { flannelctl, replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { parseOutput } from "../../../../test/support/output-schema.ts";

const seen = {
  ...{
    sequence: 1,
    at: "2026-01-02T23:01:07.408Z",
    event: "lease.seen",
    level: "detail",
    fields: { key: "10.5.7.0-24" },
  },
  ...{ message: "leased to 192.0.2.7", cause: { type: "lease", revision: "12", by: "192.0.2.7" } },
};
const repaired = {
  ...{ sequence: 2, at: "2026-01-03T00:00:01.000Z", event: "firewall.repaired", level: "warn", fields: { count: 1 } },
  ...{ message: "repaired a rule\u001b[2J", cause: { type: "notification", by: "nft (pid 7)" }, leftOut: 3 },
};
const history = { startedAt: "2026-01-02T23:00:00.000Z", entries: [seen, repaired] };
const nowMs = () => Date.parse("2026-01-03T00:00:31Z");

async function ask(argv: readonly string[], body: unknown = history) {
  using directory = new TemporaryDirectory();
  await using agent = await StandInAgent.listen(directory.file("s"), (path, response) => {
    if (!path.startsWith("/v2/events")) return replyJson(response, body);
    response.writeHead(200);
    response.end(`\nnot json\n${JSON.stringify({ ...repaired, sequence: 3, leftOut: undefined })}\n`);
  });
  const result = await flannelctl([...argv, "--socket", directory.file("s")], { nowMs });
  return { ...result, requests: agent.requests };
}

test("history shows what changed, because of what, and by whom", async () => {
  const { exitCode, stdout } = await ask(["history"]);
  expect(exitCode).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "# 2026-01-02, UTC",
    "23:01:07.408  lease.seen  leased to 192.0.2.7: 10.5.7.0-24  (lease, revision 12, by 192.0.2.7)",
    "# 2026-01-03, UTC",
    "  … 3 events came too fast to be kept",
    "00:00:01.000  firewall.repaired  repaired a rule\\x1b[2J  (external change, by nft (pid 7))",
    "",
  ]);
});

test("history chooses by time, text and number", async () => {
  expect((await ask(["history", "--since", "1m"])).stdout).not.toContain("lease.seen");
  expect((await ask(["history", "--about", "10.5.7.0"])).stdout).not.toContain("firewall");
  expect((await ask(["history", "--limit", "1"])).stdout).not.toContain("lease.seen");
  expect((await ask(["history", "--limit", "0"])).stdout).toContain("nothing of that");
  expect((await ask(["history", "--about", "10.9."])).stdout).toBe(
    "nothing of that among 2 events since 2026-01-02T23:00:00.000Z\n",
  );
  const { stdout } = await ask(["history", "--json", "--limit", "1"]);
  expect(JSON.parse(stdout)).toMatchObject({ version: 1, entries: [{ sequence: 2 }] });
  expect((await ask(["history", "--limit", "x"])).exitCode).toBe(2);
});

test("events --follow --json writes a document on each line, and ends with the agent", async () => {
  using directory = new TemporaryDirectory();
  await using agent = await StandInAgent.listen(directory.file("s"), (path, response) => {
    if (!path.startsWith("/v2/events")) return replyJson(response, history);
    response.writeHead(200);
    response.end(`\nnot json\n${JSON.stringify({ ...repaired, sequence: 3, leftOut: undefined })}\n`);
  });
  const terminal: string[] = [];
  const { runFlannelctl } = await import("../program.ts");
  const exitCode = await runFlannelctl(
    ["events", "--follow", "--json", "--socket", directory.file("s")],
    {
      ...{ env: {}, stdoutIsTty: false, nowMs, readInput: () => Promise.resolve("") },
      writeOut: (text) => void terminal.push(text),
      writeErr: () => undefined,
    },
    new AbortController().signal,
    "1.2.3",
  );
  expect(exitCode).toBe(3);
  expect(agent.requests.at(-1)).toBe("GET /v2/events?after=2");
  const lines = terminal.join("").trimEnd().split("\n");
  expect(lines.map((line) => (parseOutput("events", line) as { sequence: number }).sequence)).toEqual([1, 2, 3]);
  expect(terminal.join("")).not.toContain("\u001b");
});
