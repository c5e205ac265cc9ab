// The extension backend: an agent of the product in a box, with commands that write down what they are given, and fail, hang
// or print too much when they are told to. Real programs, real etcd.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { AgentInProcess, type OneStatus } from "../support/agent-in-process.ts";
import { flannelctl, TemporaryDirectory } from "../support/flannelctl.ts";
import { makeVethHost } from "../support/veth-host.ts";

const leases = "/coreos.com/network/subnets/";
const secret = "hunter2-hunter2";
let directory: TemporaryDirectory;
let etcd: EtcdServer;

/** Writes down its words, the variables of the backend and its input; then does what a file named as its first word says. */
const script = `#!/bin/sh
dir=$(dirname $0)
line="$*"
for name in NETWORK SUBNET IPV6SUBNET PUBLIC_IP PUBLIC_IPV6; do
  eval value=\\$$name
  line="$line $name=$value"
done
printf '%s|%s\\n' "$line" "$(cat)" >>$dir/calls
if [ -e $dir/$1.sh ]; then . $dir/$1.sh; fi
[ $1 = pre ] && echo '  "data of this host" '
exit 0
`;

beforeAll(async () => {
  directory = new TemporaryDirectory();
  writeFileSync(directory.file("record"), script, { mode: 0o755 });
  etcd = await EtcdServer.start();
  await makeVethHost();
  process.env["FLANNELD_ETCD_PASSWORD"] = secret;
});

afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

/** With an address that is not this host's: upstream announces the interface's with this backend. */
function startAgent(): AgentInProcess {
  return new AgentInProcess({ endpoints: etcd.endpoints, directory, flags: ["--public-ip=203.0.113.1"] });
}

const isReady = ({ state }: OneStatus) => state === "ready";

async function putConfig(changes: Readonly<Record<string, unknown>> = {}): Promise<void> {
  const record = directory.file("record");
  const backend = {
    Type: "extension",
    PreStartupCommand: `${record} pre`,
    PostStartupCommand: `${record} post "$NETWORK"`,
    SubnetAddCommand: `${record} add $SUBNET`,
    SubnetRemoveCommand: `${record} remove $SUBNET`,
    ShutdownCommand: `${record} stop`,
    ...changes,
  };
  const config = { Network: "10.5.0.0/16", SubnetMin: "10.5.9.0", SubnetMax: "10.5.9.0", Backend: backend };
  await etcd.control("put", "/coreos.com/network/config", JSON.stringify(config));
}

async function putPeer(number: number, data: unknown = `data of ${number}`): Promise<void> {
  const value = { PublicIP: `192.168.50.${number}`, PublicIPv6: null, BackendType: "extension", BackendData: data };
  await etcd.control("put", `${leases}10.5.${number}.0-24`, JSON.stringify(value));
}

function calls(): string[] {
  const file = directory.file("calls");
  const text = existsSync(file) ? readFileSync(file, "utf8").trimEnd() : "";
  return text === "" ? [] : text.split("\n");
}

/** Calls since the last time. */
function newCalls(): string[] {
  const found = calls();
  rmSync(directory.file("calls"), { force: true });
  return found;
}

function addOf(number: number): string {
  const variables = `NETWORK= SUBNET=10.5.${number}.0/24 IPV6SUBNET= PUBLIC_IP=192.168.50.${number} PUBLIC_IPV6=`;
  return `add 10.5.${number}.0/24 ${variables}|data of ${number}`;
}

const removeOf = (number: number) => addOf(number).replace("add", "remove");
const own = "NETWORK=10.5.0.0/16 SUBNET=10.5.9.0/24 IPV6SUBNET=::/0 PUBLIC_IP=192.168.50.11 PUBLIC_IPV6=<nil>|";

function behave(command: string, text: string | undefined): void {
  const file = directory.file(`${command}.sh`);
  if (text === undefined) rmSync(file, { force: true });
  else writeFileSync(file, text);
}

test("commands, variables, input and announced data are upstream's", async () => {
  await putConfig();
  await putPeer(2);
  await using agent = startAgent();
  await agent.untilStatus("an agent with a peer", (status) => isReady(status) && status.peers.programmed === 1);
  expect(calls()).toEqual([
    "pre NETWORK= SUBNET= IPV6SUBNET= PUBLIC_IP= PUBLIC_IPV6=|",
    `post "10.5.0.0/16" ${own}`,
    addOf(2),
  ]);
  expect(JSON.parse(await etcd.control("get", "--print-value-only", `${leases}10.5.9.0-24`))).toEqual({
    PublicIP: "192.168.50.11",
    PublicIPv6: null,
    BackendType: "extension",
    BackendData: '"data of this host"',
  });
  const { stdout } = await flannelctl(["plan", "--subnet-file", directory.file("subnet.env")]);
  expect(stdout).toContain("PostStartupCommand");
  expect(stdout).toContain("SubnetAddCommand for 10.5.2.0/24 (192.168.50.2)");
  await putPeer(3, null);
  await until(() => calls().length === 4, { what: "the second peer" });
  await putPeer(3);
  await etcd.control("del", `${leases}10.5.2.0-24`);
  await until(() => calls().length === 7, { what: "a peer that changed and one that is gone" });
  expect(newCalls().slice(3)).toEqual([
    addOf(3).replace("data of 3", ""),
    removeOf(3).replace("data of 3", ""),
    addOf(3),
    removeOf(2),
  ]);
});

test("after a restart peers that are present are added, and those that went are removed; a stop has its command", async () => {
  expect(newCalls()).toEqual([`stop ${own}`]);
  await putPeer(2);
  await etcd.control("del", `${leases}10.5.3.0-24`);
  {
    await using agent = startAgent();
    await agent.untilStatus("an agent with a peer", (status) => isReady(status) && status.peers.programmed === 1);
    await until(() => calls().length === 4, { what: "all commands" });
    expect(calls().slice(2).sort()).toEqual([addOf(2), removeOf(3)].sort());
  }
  newCalls();
});

test("a failure degrades the agent and is told without secrets; the retry removes what it may have left", async () => {
  behave("add", `[ $SUBNET != 10.5.4.0/24 ] || { printf 'no \\033[2J%s\\n' $FLANNELD_ETCD_PASSWORD; exit 3; }`);
  await putPeer(4);
  await using agent = startAgent();
  const { peers, failures, reasons } = await agent.untilStatus(
    "a failure that was tried again",
    ({ state, failures: [first] }) => state === "degraded" && (first?.attempts ?? 0) > 1,
  );
  const error = "SubnetAddCommand for 10.5.4.0/24: exit code 3: no \\x1b[2J(hidden)";
  expect(failures).toMatchObject([{ object: "SubnetAddCommand for 10.5.4.0/24 (192.168.50.4)", error, scope: "peer" }]);
  expect(reasons.map(({ message }) => message).join()).toContain(`1 of 2 peers unreachable: SubnetAddCommand`);
  expect(peers).toMatchObject({ desired: 2, programmed: 1 });
  expect(agent.log).toContain("exit code 3");
  expect(agent.log).not.toContain(secret);
  const tries = newCalls().filter((call) => call.includes("10.5.4.0"));
  expect(tries.slice(0, 3)).toEqual([addOf(4), removeOf(4), addOf(4)]);
  behave("add", undefined);
  await agent.untilStatus("an agent that is ready again", (status) => isReady(status) && status.peers.programmed === 2);

  // A command that changes while the agent runs is run for all.
  newCalls();
  await putConfig({ SubnetAddCommand: `${directory.file("record")} again $SUBNET` });
  await until(() => calls().length === 2, { what: "the new command for both" });
  expect(newCalls().map((call) => call.split(" ")[0])).toEqual(["again", "again"]);
});

test("a peer with data that is no text is left out, and one whose command hangs does not hold up the others", async () => {
  await putConfig({ TimeLimit: 1 });
  await putPeer(5, { not: "text" });
  behave("add", `[ $SUBNET != 10.5.2.0/24 ] || sleep 1000`);
  newCalls();
  await using agent = startAgent();
  const { failures, peers } = await agent.untilStatus(
    "a command that was ended",
    ({ failures: [first] }) => first?.error.includes("did not end within 1 s") === true,
  );
  expect(failures[0]?.object).toContain("10.5.2.0/24");
  expect(peers.skipped).toEqual([{ key: "10.5.5.0-24", reason: "its BackendData is not a text" }]);
  await until(() => calls().includes(addOf(4)), { what: "the other peer" });
  behave("add", undefined);
  await etcd.control("del", `${leases}10.5.5.0-24`);
});

test("without its own commands the host is not ready, and a corrected configuration is taken up", async () => {
  await putConfig({ PostStartupCommand: "/bin/false" });
  newCalls();
  {
    await using agent = startAgent();
    const { reasons } = await agent.untilStatus(
      "a host that is not ready",
      ({ reasons: [first] }) => first?.message.includes("PostStartupCommand: exit code 1") === true,
    );
    expect(reasons[0]).toMatchObject({ name: "data-plane-failed", state: "notReady" });
    expect(calls().some((call) => call.startsWith("add"))).toBe(false);
  }
  await putConfig({ PreStartupCommand: "no-such-program" });
  await using agent = startAgent();
  await until(() => agent.log.includes("no-such-program"), { what: "the reason" });
  await putConfig();
  await agent.untilStatus("an agent that goes on with the corrected command", isReady);
});

test("a clean-up runs the commands that remove peers, and the one of a stop", async () => {
  newCalls();
  const files = ["--subnet-file", directory.file("subnet.env"), "--state-dir", directory.file("state")];
  const what = (number: number) => `what SubnetRemoveCommand for 10.5.${number}.0/24 (192.168.50.${number}) removes`;
  const { stdout } = await flannelctl(["cleanup", "--dry-run", ...files]);
  expect(stdout).toContain(
    `would remove ${what(2)}\nwould remove ${what(4)}\nwould remove what ShutdownCommand removes`,
  );
  expect(newCalls()).toEqual([]);
  expect((await flannelctl(["cleanup", ...files])).stdout).toContain(`removed ${what(2)}`);
  expect(newCalls()).toEqual([removeOf(2), removeOf(4), `stop ${own}`]);
  expect((await flannelctl(["cleanup", ...files])).stdout).not.toContain("SubnetRemoveCommand");
});
