import { expect, test } from "vitest";
import { flannelctl, replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";

const nothing = { objects: [], findings: [], entries: [] };

async function why(network: object, of: string, ...argv: string[]) {
  using directory = new TemporaryDirectory();
  await using agent = await StandInAgent.listen(directory.file("s"), (_path, response) =>
    replyJson(response, { networks: [{ name: "n", ...nothing, ...network }] }),
  );
  const result = await flannelctl(["why", of, "--socket", directory.file("s"), ...argv], {
    nowMs: () => Date.parse("2026-01-03T00:00:31Z"),
  });
  return { ...result, requests: agent.requests };
}

const lease = { key: "10.5.7.0-24", reserved: false, publicIp: "192.0.2.7", isOwn: false, revision: "12" };
const times = { changedAt: "2026-01-03T00:00:01.000Z", programmedAt: "2026-01-03T00:00:01.004Z" };

test("why names the lease, the backend, the objects with their state, and the past", async () => {
  const { exitCode, stdout, requests } = await why(
    {
      ...{ lease, backendType: "vxlan", peer: { key: lease.key, revision: "12", state: "programmed", ...times } },
      objects: [
        { object: "10.5.7.0/24 via 10.5.7.0 dev flannel.1 onlink", programmed: true },
        { object: "fdb", programmed: false, error: "EPERM" },
      ],
      findings: ["peer-unreachable: another route"],
      entries: [
        {
          ...{ sequence: 4, at: times.programmedAt, event: "host.object", level: "detail", fields: {} },
          ...{ message: "+ 10.5.7.0/24 via 10.5.7.0 dev flannel.1", cause: { type: "lease", revision: "12" } },
        },
      ],
    },
    "10.5.7.9",
  );
  expect(requests).toEqual(["GET /v2/why?of=10.5.7.9"]);
  expect(exitCode).toBe(0);
  expect(stdout.split("\n")).toEqual([
    "10.5.7.9  <- lease 10.5.7.0-24 of the host 192.0.2.7, revision 12, heard of 30 s ago",
    "  backend vxlan, programmed",
    "  in the kernel 4 ms after this agent heard of it",
    "  + 10.5.7.0/24 via 10.5.7.0 dev flannel.1 onlink",
    "  - fdb  missing: EPERM",
    "  ! peer-unreachable: another route",
    "",
    "journal:",
    "# 2026-01-03, UTC",
    "00:00:01.004  host.object  + 10.5.7.0/24 via 10.5.7.0 dev flannel.1  (lease, revision 12)",
    "",
  ]);
});

test("why ends with 1 when nothing of flannel's belongs to it", async () => {
  const { exitCode, stdout, requests } = await why({}, "a b&c");
  expect([exitCode, requests]).toEqual([1, ["GET /v2/why?of=a+b%26c"]]);
  expect(stdout).toBe("a b&c: no lease, no kernel object and no event of flannel has to do with it\n");
  expect(JSON.parse((await why({ lease }, "10.5.7.9", "--json")).stdout)).toMatchObject({ version: 1, of: "10.5.7.9" });
});
