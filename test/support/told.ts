// All that an agent and its tools tell: what a secret must not appear in.
import { mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { run } from "../../lab/command.ts";

/** Log, command line, status, metrics, journal, what flannelctl says with `flags`, and everything in a bug report. */
export async function toldBy(agent: LabAgent, flags: readonly string[] = []): Promise<string> {
  const { namespace } = agent.host;
  const ctl = async (...words: readonly string[]) => {
    const said = await namespace.tryRun(["bin/flannelctl", "--socket", agent.controlSocket, ...flags, ...words]);
    return `${said.stdout}\n${said.stderr}`;
  };
  const said = [
    agent.output,
    await readFile(`/proc/${agent.pid}/cmdline`, "utf8"),
    JSON.stringify(await agent.wholeStatus()),
  ];
  for (const words of [["status"], ["status", "--json"], ["history"], ["plan"], ["peers"]])
    said.push(await ctl(...words));
  await using directory = await mkdtempDisposable(join(tmpdir(), "told-"));
  const file = join(directory.path, "report.tar.gz");
  said.push(await ctl(`--state-dir=${agent.directory}/state`, "bugreport", "-o", file));
  const report = await run(["tar", "-xzOf", file]);
  // An empty one would prove nothing.
  expect(report).toContain("cloud.");
  return [...said, report].join("\n");
}
