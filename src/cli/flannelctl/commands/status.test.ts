import { expect, test } from "vitest";
import {
  flannelctl,
  healthyNetwork,
  healthyStatus,
  replyJson,
  StandInAgent,
  TemporaryDirectory,
} from "../../../../test/support/flannelctl.ts";
import type { Status } from "../../../agent/control/control-protocol.ts";
import { statusOutputSchema } from "../session/json-output.ts";

const nowMs = () => Date.parse("2026-03-01T10:30:05.000Z");

async function statusOf(status: unknown, ...argv: string[]) {
  using directory = new TemporaryDirectory();
  await using _ = await StandInAgent.listen(directory.file("flanneld.sock"), (_path, response) =>
    replyJson(response, status),
  );
  return await flannelctl(["status", "--subnet-file", directory.file("subnet.env"), ...argv], { nowMs });
}

test("a ready agent is shown on a few lines and exits 0", async () => {
  const { exitCode, stdout, stderr } = await statusOf(healthyStatus);
  expect(stderr).toBe("");
  expect(stdout.split("\n")).toEqual([
    "flanneld 1.2.3 (pid 4711, up 30 min 5 s): ready",
    "  lease        10.5.34.0/24, expires in 23 h 29 min",
    "  backend      vxlan, MTU 1450",
    "  interface    eth0 192.0.2.11, MTU 1500",
    "  peers        2 of 2 programmed, 2 known",
    "  repairs      none",
    "  subnet file  /run/flannel/subnet.env",
    "  store        etcd http://192.0.2.1:2379, connected, last answer 3 s ago",
    "  state dir    /var/lib/flannel",
    "",
  ]);
  expect(exitCode).toBe(0);
});

const troubled: Status = {
  ...healthyStatus,
  state: "degraded",
  pendingState: "notReady",
  reasons: [
    { name: "forwarding-off", state: "notReady", message: "IPv4 forwarding is off" },
    { name: "peer-failed", state: "degraded", message: "1 of 2 peers is not programmed" },
  ],
  store: { ...healthyStatus.store, connected: false },
  networks: [
    {
      ...healthyNetwork,
      externalInterface: { name: "eth0", mtuBytes: 1500, address: "192.0.2.11", publicIp: "203.0.113.5" },
      warmStart: true,
      unreadableKeys: [{ key: "bad", reason: "not JSON" }],
      peers: {
        known: 3,
        desired: 2,
        programmed: 1,
        skipped: [{ key: "10.5.9.0-24", reason: "backend type is host-gw" }],
      },
      failures: [{ object: "route 10.5.7.0/24", error: "ENETUNREACH", attempts: 4, scope: "peer" }],
      repairs: {
        total: 12,
        last: [{ repairedAt: "2026-03-01T10:30:00.000Z", object: "link flannel.1", action: "added" }],
      },
    },
  ],
  findings: [
    {
      name: "ip-forward-off",
      severity: "error",
      evidence: "net.ipv4.ip_forward is 0: nothing is forwarded",
      remedy: "sysctl -w net.ipv4.ip_forward=1",
    },
  ],
};

test("a troubled agent says why, names what is wrong with its remedy, and exits 1", async () => {
  const { exitCode, stdout } = await statusOf(troubled);
  expect(exitCode).toBe(1);
  for (const line of [
    "flanneld 1.2.3 (pid 4711, up 30 min 5 s): degraded, soon not ready",
    "  because IPv4 forwarding is off",
    "  because 1 of 2 peers is not programmed",
    "  interface    eth0 192.0.2.11, MTU 1500, announced as 203.0.113.5",
    "  store        etcd http://192.0.2.1:2379, not connected, last answer 3 s ago; known peers stay reachable",
    "  lease        10.5.34.0/24, expires in 23 h 29 min, remembered and not yet confirmed by the store",
    "  bad  not JSON",
    "  10.5.9.0-24  backend type is host-gw",
    "  route 10.5.7.0/24  ENETUNREACH  tried 4×",
    "  5 s ago  added  link flannel.1",
    "  error ip-forward-off: net.ipv4.ip_forward is 0: nothing is forwarded",
    "    remedy: sysctl -w net.ipv4.ip_forward=1",
  ]) {
    expect(stdout.split("\n")).toContain(line);
  }
});

test("several networks are shown one after the other", async () => {
  const networks = [healthyNetwork, { ...healthyNetwork, name: "/second" }];
  const { stdout } = await statusOf({ ...healthyStatus, networks });
  expect(stdout.split("\n").filter((line) => /^ {2}(network|lease) /.test(line))).toEqual([
    "  network      /coreos.com/network",
    "  lease        10.5.34.0/24, expires in 23 h 29 min",
    "  network      /second",
    "  lease        10.5.34.0/24, expires in 23 h 29 min",
  ]);
});

test("of the certificates the first to expire is shown", async () => {
  const certificates = [
    { role: "authority" as const, source: "ca.pem", endsAt: "2036-01-01T00:00:00.000Z" },
    { role: "client" as const, source: "host.pem", endsAt: "2026-03-21T10:30:05.000Z" },
  ];
  const { stdout } = await statusOf({ ...healthyStatus, store: { ...healthyStatus.store, certificates } });
  expect(stdout.split("\n")).toContain("  certificates  our own expires in 20 d, on 2026-03-21");
});

test("--json prints the agent's status by the published schema with the same exit code", async () => {
  const { exitCode, stdout, stderr } = await statusOf(troubled, "--json");
  expect(statusOutputSchema.parse(JSON.parse(stdout))).toEqual(troubled);
  expect(stderr).toBe("");
  expect(exitCode).toBe(1);
});

test("without an agent it names the socket and how to start one, and exits 3", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("flanneld.sock");
  const plain = await flannelctl(["status", "--socket", socket]);
  expect(plain).toMatchObject({ exitCode: 3, stdout: "" });
  expect(plain.stderr).toMatch(
    /^flannelctl: no flanneld listens on .*flanneld\.sock; start it .*systemctl start flanneld.*\n$/,
  );
  const json = await flannelctl(["status", "--json"], { env: { FLANNELD_CONTROL_SOCKET: socket } });
  expect(json).toMatchObject({ exitCode: 3, stdout: "" });
  expect(JSON.parse(json.stderr)).toEqual({
    version: 1,
    error: { code: "AGENT_ABSENT", message: expect.stringContaining(socket) },
  });
});

test("terminal codes inside an answer are shown, not sent to the terminal", async () => {
  const odd = { ...healthyNetwork, backendType: "vx\u001b[2Jlan" };
  const { stdout } = await statusOf({ ...healthyStatus, networks: [odd] });
  expect(stdout).toContain("vx\\x1b[2Jlan");
});

test("colours appear only on a terminal, and NO_COLOR turns them off", async () => {
  using directory = new TemporaryDirectory();
  const socket = directory.file("s");
  await using _ = await StandInAgent.listen(socket, (_path, response) => replyJson(response, healthyStatus));
  const coloured = await flannelctl(["status", "--socket", socket], { isTty: true });
  expect(coloured.stdout).toContain("\u001b[32mready\u001b[39m");
  const plain = await flannelctl(["status", "--socket", socket], { isTty: true, env: { NO_COLOR: "1" } });
  expect(plain.stdout).not.toContain("\u001b");
});
