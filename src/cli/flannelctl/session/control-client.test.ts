import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { z } from "zod";
import { replyJson, StandInAgent, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { askAgent } from "./control-client.ts";

const ask = { method: "GET", path: "/v2/thing", schema: z.object({ size: z.int() }) } as const;

async function asked(answer: (response: ServerResponse) => void): Promise<unknown> {
  using directory = new TemporaryDirectory();
  await using _ = await StandInAgent.listen(directory.file("s"), (_path, response) => answer(response));
  return await askAgent([directory.file("s")], ask, new AbortController().signal);
}

test("an answer by the schema is returned", async () => {
  await expect(asked((response) => replyJson(response, { size: 3 }))).resolves.toEqual({ size: 3 });
});

test.each<[string, (response: ServerResponse) => void, RegExp]>([
  ["text that is not JSON", (response) => response.end("<html>"), /cannot read .*: it is not JSON.*same version/],
  ["nothing at all", (response) => response.end(), /it is not JSON/],
  ["JSON of another shape", (response) => replyJson(response, { size: "big" }), /size: .*same version/],
  ["JSON null", (response) => replyJson(response, null), /cannot read/],
  [
    "a refusal",
    (response) => replyJson(response, { error: { code: "x", message: "not\u001bnow" } }, 503),
    /refused GET \/v2\/thing: not\\x1bnow/,
  ],
  ["a refusal without a reason", (response) => replyJson(response, [], 500), /HTTP status 500/],
  ["a connection cut before the answer", (response) => response.socket?.destroy(), /closed the connection/],
  [
    "a connection cut inside the answer",
    (response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("{");
      setTimeout(() => response.socket?.destroy(), 20);
    },
    /closed the connection/,
  ],
  ["something that is not HTTP", (response) => response.socket?.end("garbage\r\n\r\n"), /cannot read/],
])("%s is a clear error", async (_name, answer, message) => {
  await expect(asked(answer)).rejects.toMatchObject({ code: "INTERNAL", message: expect.stringMatching(message) });
});

test("an agent of another version is distinguished from all other failures", async () => {
  const old = { error: { code: "USAGE", message: "unknown operation: restart flanneld if flannelctl is newer" } };
  await expect(asked((response) => replyJson(response, old, 404))).rejects.toMatchObject({
    code: "AGENT_INCOMPATIBLE",
    message: expect.stringMatching(
      /does not speak version 2 of the control protocol, as this flannelctl does: restart flanneld/,
    ),
  });
});

test("an answer without end is given up", async () => {
  const endless = (response: ServerResponse) => {
    const chunk = Buffer.alloc(4 * 1024 * 1024, " ");
    const more = () => {
      while (!response.destroyed && response.write(chunk));
      if (!response.destroyed) response.once("drain", more);
    };
    more();
  };
  await expect(asked(endless)).rejects.toMatchObject({
    code: "INTERNAL",
    message: expect.stringContaining("longer than"),
  });
});

test("nobody listening is agent.absent: no file, a stale socket, a file that is no socket, no directory", async () => {
  using directory = new TemporaryDirectory();
  writeFileSync(directory.file("plain"), "");
  for (const path of [directory.file("none"), directory.file("plain"), directory.file("plain/below")]) {
    await expect(askAgent([path], ask, new AbortController().signal)).rejects.toMatchObject({ code: "AGENT_ABSENT" });
  }
});

test("an abort ends the wait for an answer", async () => {
  const controller = new AbortController();
  using directory = new TemporaryDirectory();
  await using _ = await StandInAgent.listen(directory.file("s"), () => controller.abort());
  await expect(askAgent([directory.file("s")], ask, controller.signal)).rejects.toMatchObject({ code: "CANCELLED" });
});

test("the first socket with a listener is asked", async () => {
  using directory = new TemporaryDirectory();
  const [stale, living] = [directory.file("flanneld-b.sock"), directory.file("flanneld.sock")];
  writeFileSync(stale, "");
  await using _ = await StandInAgent.listen(living, (_path, response) => replyJson(response, { size: 7 }));
  await expect(askAgent([stale, living], ask, new AbortController().signal)).resolves.toEqual({ size: 7 });
});

test("an agent that is stopped is reported as that, soon and with its pid", async () => {
  using directory = new TemporaryDirectory();
  const path = directory.file("s");
  const program = `require("node:http").createServer().listen(${JSON.stringify(path)}, () => console.log("listening"))`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await once(child.stdout, "data");
    child.kill("SIGSTOP");
    const soon = askAgent([path], { ...ask, stoppedAfterMs: 100 }, new AbortController().signal);
    await expect(soon).rejects.toMatchObject({
      code: "AGENT_SILENT",
      message: `the agent (pid ${child.pid}) on ${path} did not answer within 0.1 s: it is stopped by a signal: continue it with kill -CONT ${child.pid}`,
    });
    child.kill("SIGCONT");
    const busy = askAgent([path], { ...ask, timeoutMs: 100 }, new AbortController().signal);
    await expect(busy).rejects.toMatchObject({
      code: "AGENT_SILENT",
      message: expect.stringContaining("busy or hangs"),
    });
  } finally {
    child.kill("SIGKILL");
  }
});
