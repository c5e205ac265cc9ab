// Whatever others wrote into leases, hosts' names, reasons and log lines: no command lets it drive the terminal.
import { expect, test } from "vitest";
import { flannelctl, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { SimulatedAgent } from "../../../../test/support/simulated-agent.ts";

const LONG = "x".repeat(20_000);
/** Title, clearing the screen by C0 and C1, a line written over, another direction, lines of its own, a script. */
const HOSTILE = `\u001b]0;owned\u0007\u001b[2J\u009b2J\rOK \u202e\u2066\u200f\n\u2028\u0085<script>alert(1)</script>${LONG}`;
/** Without line feeds, and without what our own colours and cursor are made of. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
const DRIVING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: what paint and watch write
const OUR_OWN = /\r\n|\u001b\[(?:\d+m|\d+;\d+H|[HJK]|\d?[JK]|\?25[lh]|\?1049[lh])/g;

test.each([
  ...[["status"], ["status", "--wide"], ["peers"], ["peers", "--wide"], ["plan"], ["rules"], ["history"], ["events"]],
  ...[
    ["events", "--follow"],
    ["watch", "--interval=60"],
    ["why", "10.64.0.0-24"],
  ],
  ...[
    ["--json", "status"],
    ["--json", "peers"],
    ["--json", "history"],

    ["--json", "watch"],
  ],
])("%s %s %s", async (...argv) => {
  using directory = new TemporaryDirectory();
  await using agent = await SimulatedAgent.listen(directory.file("s"), { peers: 3, hostile: HOSTILE });
  agent.setState(1, "down");
  agent.tell("peer.failed", "something failed", "error");
  const words = argv.filter((word) => word !== undefined);
  for (const isTty of [false, true]) {
    const signal = AbortSignal.timeout(words.includes("--follow") || words[0] === "watch" ? 700 : 60_000);
    const socket = ["--socket", directory.file("s")];
    const world = { isTty, signal, env: { TERM: "xterm" } };
    const { stdout, stderr } = await flannelctl([...words, ...socket], world);
    const text = `${stdout}${stderr}`;
    expect(text.length).toBeGreaterThan(20);
    expect(DRIVING.exec(text.replaceAll(OUR_OWN, ""))?.[0]).toBeUndefined();
    // A line of its own would look like one of ours.
    expect(text.split("\n").filter((line) => /^\s*(?:OK|<script)/.test(line))).toEqual([]);
  }
});
