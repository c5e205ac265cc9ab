import { expect, test } from "vitest";
import { flannelctl, replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";

const nowMs = () => Date.parse("2026-01-03T00:00:31Z");
const peers = [
  {
    ...{ key: "10.5.20.0-24", subnet: "10.5.20.0/24", publicIp: "192.0.2.20", backendType: "vxlan", revision: "9" },
    ...{ state: "up", rttSeconds: { p50: 0.0004, p99: 0.002 }, lossRatio: 0, mtuBytes: 1450 },
    ...{ receivedBytes: 3_000_000, sentBytes: 512, changedAt: "2026-01-03T00:00:01Z" },
  },
  {
    ...{ key: "10.5.3.0-24", subnet: "10.5.3.0/24", publicIp: "192.0.2.3", revision: "12", state: "down" },
    ...{ reason: "no answer\u001b]0;x\u0007 of 5 probes", lossRatio: 0.625, changedAt: "2026-01-02T00:00:31Z" },
  },
  { key: "evil\u001b[2J", revision: "13", state: "skipped", reason: "overlap" },
];

async function peersOf(list: readonly object[], ...argv: string[]) {
  using directory = new TemporaryDirectory();
  await using _ = await StandInAgent.listen(directory.file("s"), (_path, response) =>
    replyJson(response, { networks: [{ name: "n", peers: list }] }),
  );
  return await flannelctl(["peers", "--socket", directory.file("s"), ...argv], { nowMs });
}

test("peers lists them, the worst first, with - for what is not known", async () => {
  const { exitCode, stdout } = await peersOf(peers);
  expect(exitCode).toBe(0);
  expect(stdout.trimEnd().split("\n")).toEqual([
    "PEER          HOST        STATE    RTT      LOSS    MTU   RECEIVED  SENT   CHANGED",
    "10.5.3.0-24   192.0.2.3   down     -        62.5 %  -     -         -      1 d ago",
    "evil\\x1b[2J   -           skipped  -        -       -     -         -      -",
    "10.5.20.0-24  192.0.2.20  up       0.40 ms  0 %     1450  2.9 MiB   512 B  30 s ago",
  ]);
});

test.each([
  ["name", "10.5.3.0-24 10.5.20.0-24 evil"],
  ["bytes", "10.5.20.0-24 10.5.3.0-24 evil"],
  ["rtt", "10.5.20.0-24 10.5.3.0-24 evil"],
  ["loss", "10.5.3.0-24 10.5.20.0-24 evil"],
  ["mtu", "10.5.20.0-24 10.5.3.0-24 evil"],
  ["changed", "10.5.20.0-24 10.5.3.0-24 evil"],
])("peers --sort=%s", async (order, expected) => {
  const { stdout } = await peersOf(peers, `--sort=${order}`);
  const names = stdout
    .trimEnd()
    .split("\n")
    .slice(1)
    .map((line) => line.split(/[ \\]/)[0]);
  expect(names.join(" ")).toBe(expected);
});

test("peers --wide says why; --json is by the published schema; a wrong order is wrong use", async () => {
  const wide = await peersOf(peers, "--wide");
  expect(wide.stdout).toContain("no answer\\x1b]0;x\\x07 of 5 probes");
  expect(wide.stdout).toContain("2.00 ms");
  expect(JSON.parse((await peersOf(peers, "--json")).stdout)).toMatchObject({ version: 1, networks: [{ name: "n" }] });
  expect((await peersOf(peers, "--sort=colour")).exitCode).toBe(2);
  expect((await peersOf([])).stdout).toBe("no other host has a lease\n");
});
