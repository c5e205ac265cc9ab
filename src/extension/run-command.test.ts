// Real programs and shells.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: commands have variables of their own
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { type CommandRun, MAX_OUTPUT_CHARACTERS, runCommand } from "./run-command.ts";

function run(command: string, options: Partial<CommandRun> = {}) {
  return runCommand({
    ...{ name: "SubnetAddCommand", shell: false, input: "", timeLimitMs: 60_000, command },
    variables: { SUBNET: "10.5.3.0/24", PUBLIC_IP: "192.0.2.3" },
    ...options,
  });
}

const inShell = { shell: true } as const;

test("without a shell a command is a program and its words, with variables of ours before those of the agent", async () => {
  process.env["FROM_AGENT"] = "inherited";
  process.env["NOTIFY_SOCKET"] = "/run/notify";
  const { output } = await run('echo $SUBNET "$PUBLIC_IP" ; ${FROM_AGENT} $UNKNOWN x');
  expect(output).toBe('10.5.3.0/24 "192.0.2.3" ; inherited  x');
  expect((await run("env")).output).toMatch(/^SUBNET=10.5.3.0\/24$/m);
  expect((await run("env")).output).not.toContain("NOTIFY_SOCKET");
});

test("with a shell it is a script; both outputs are read, without white space around them", async () => {
  expect((await run("echo; echo $SUBNET | tr 1 2; sleep 0.05; echo $PUBLIC_IP >&2", inShell)).output).toBe(
    "20.5.3.0/24\n192.0.2.3",
  );
});

test("input ends with one line end, however much there is and whether or not it is read", async () => {
  expect((await run("od -An -c", { input: "ab" })).output).toBe("a   b  \\n");
  const input = "x".repeat(300_000);
  expect((await run("wc -c", { input })).output).toBe("300001");
  expect((await run("true", { input })).output).toBe("");
});

test.each([
  ["exit 3", inShell, "SubnetAddCommand for 10.5.3.0/24: exit code 3"],
  ["echo 'no\u001b[2J' >&2; exit 1", inShell, "SubnetAddCommand for 10.5.3.0/24: exit code 1: no\\x1b[2J"],
  ["kill -9 $$", inShell, "SubnetAddCommand for 10.5.3.0/24: it was ended by SIGKILL"],
  ["no-such-program x", {}, 'SubnetAddCommand for 10.5.3.0/24: there is no program "no-such-program" in PATH'],
  [
    "export A=1; ip link",
    {},
    'SubnetAddCommand for 10.5.3.0/24: there is no program "export" in PATH; commands run without a shell unless the configuration has "Shell": true',
  ],
  ["$UNKNOWN x", {}, "SubnetAddCommand for 10.5.3.0/24: it names no program"],
])("%j fails and says why", async (command, options, message) => {
  await expect(run(command, options)).rejects.toMatchObject({ code: "COMMAND_FAILED", retryable: true, message });
});

test("output is bounded", async () => {
  const { output, isCut } = await run("yes 1234567 | head -c 10000000", inShell);
  expect(isCut).toBe(true);
  expect(output.length).toBeLessThanOrEqual(MAX_OUTPUT_CHARACTERS);
});

test("a command that takes too long ends with all that it started", async () => {
  const mark = `9${process.pid}`;
  const command = `trap '' TERM; sleep ${mark} & sleep ${mark} & wait; wait`;
  await expect(run(command, { ...inShell, timeLimitMs: 100 })).rejects.toThrow("did not end within 0.1 s (TimeLimit)");
  const left = () => run(`ps -eo args | grep -c "^sleep ${mark}$"; true`, inShell);
  await until(async () => (await left()).output === "0", { what: "the processes to be gone" });
});

test("a command is not waited for because of what it leaves in the background", async () => {
  const startedMs = performance.now();
  const { output } = await run("sleep 20 & echo $!", inShell);
  expect(performance.now() - startedMs).toBeLessThan(15_000);
  process.kill(Number(output), 0);
  process.kill(Number(output));
});

test("it ends when nobody waits for it any longer", async () => {
  const abort = new AbortController();
  const ended = expect(run("sleep 1000", { signal: abort.signal })).rejects.toThrow("because the agent stops");
  await delay(0);
  abort.abort();
  await ended;
});
