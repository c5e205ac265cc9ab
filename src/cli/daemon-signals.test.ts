// What signals do to a daemon that listens to them and has not said yet what they are for, and after that.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { wasEndedInVain } from "./daemon-signals.ts";

const listener = fileURLToPath(new URL("daemon-signals.ts", import.meta.url));

/** A process that listens to signals, then does as `rest` says. Its output grows. */
function start(rest: string) {
  const script = `import { listenToSignals } from ${JSON.stringify(listener)};
    const signals = listenToSignals();
    ${rest}
    process.on("message", () => process.send("here"));
    console.log("listens");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const ended = once(child, "exit").then(([code, signal]: unknown[]) => ({ code, signal }));
  const said = (text: string) => until(() => output.includes(text), { what: `"${text}" in ${output}` });
  return { child, ended, said, output: () => output };
}

test.each(["SIGTERM", "SIGINT", "SIGQUIT"] as const)("%s ends it with exit code 0", async (signal) => {
  const { child, ended, said } = start("");
  await said("listens");
  child.kill(signal);
  expect(await ended).toEqual({ code: 0, signal: null });
});

test("signals without a meaning neither end it nor open a debugger; those with one are passed on", async () => {
  const { child, ended, said, output } = start(`
    signals.onReload(() => console.log("reload"));
    signals.onEnd((signal) => { console.log("end by " + signal); process.exitCode = 7; process.disconnect(); });`);
  await said("listens");
  for (const signal of [
    "SIGUSR1",
    "SIGUSR2",
    "SIGALRM",
    "SIGVTALRM",
    "SIGPROF",
    "SIGIO",
    "SIGPWR",
    "SIGPIPE",
  ] as const) {
    child.kill(signal);
    const answer = once(child, "message");
    child.send("there?");
    expect((await answer)[0], signal).toBe("here");
  }
  child.kill("SIGHUP");
  await said("reload");
  child.kill("SIGQUIT");
  expect(await ended).toEqual({ code: 7, signal: null });
  expect(output()).toBe("listens\nreload\nend by SIGQUIT\n");
});

test("a handler of Node that is gone is a signal that ended nobody, of process 1 alone", () => {
  const status = (mask: string) => () => `Name:\tflanneld\nSigIgn:\t0000000001001000\nSigCgt:\t${mask}\nCapInh:\t0\n`;
  expect(wasEndedInVain(1, status("0000000100004002"))).toBe(false);
  expect(wasEndedInVain(1, status("0000000100000002"))).toBe(true);
  expect(wasEndedInVain(1, status("0000000100004000"))).toBe(true);
  expect(wasEndedInVain(7, status("0000000100000002"))).toBe(false);
  // A Node without such handlers, and a host without /proc, say nothing.
  expect(wasEndedInVain(1, status("0000000000000000"))).toBe(false);
  expect(wasEndedInVain(1, () => "")).toBe(false);
  const absent = () => {
    throw new Error("ENOENT");
  };
  expect(wasEndedInVain(1, absent)).toBe(false);
});
