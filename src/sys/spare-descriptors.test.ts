// A process without descriptors: its own, so that the test's process keeps its limit.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const here = (name: string) => JSON.stringify(fileURLToPath(new URL(name, import.meta.url)));

/** Prints what `body` prints, in a process whose limit of descriptors is 256 and all of which are taken. */
async function inShortage(body: string): Promise<string[]> {
  const program = `
    const { openSync, closeSync } = await import("node:fs");
    const { holdSpareDescriptors, refillSpareDescriptors } = await import(${here("spare-descriptors.ts")});
    const { tryTool } = await import(${here("run-tool.ts")});
    const { writeFileAtomically } = await import(${here("files.ts")});
    const say = (value) => console.log(JSON.stringify(value));
    const taken = [];
    const takeAll = () => { try { for (;;) taken.push(openSync("/dev/null", "r")); } catch {} };
    const giveAll = () => { for (const fd of taken.splice(0)) closeSync(fd); };
    ${body}
    giveAll();
    process.exit();`;
  const argv = ["--nofile=256:256", process.execPath, "--input-type=module", "-e", program];
  const { stdout } = await promisify(execFile)("prlimit", argv);
  return stdout.trim().split("\n");
}

it("starts programs and writes files from the reserve, several at once, again and again", async () => {
  const said = await inShortage(`
    holdSpareDescriptors();
    takeAll();
    for (let round = 0; round < 3; round++) {
      const tools = await Promise.all(["a", "b", "c", "d"].map((word) => tryTool("/bin/echo", [word])));
      say(tools.map(({ stdout }) => stdout.trim()).join(""));
    }
    say(await writeFileAtomically("/tmp/spare-" + process.pid, "text"));
    (await import("node:fs")).rmSync("/tmp/spare-" + process.pid);
  `);
  expect(said).toEqual(['"abcd"', '"abcd"', '"abcd"', "true"]);
});

it("says that there are none without a reserve, and does not end", async () => {
  const [code, message = ""] = await inShortage(`
    takeAll();
    await tryTool("/bin/echo", ["x"]).catch(({ code, message }) => { say(code); say(message); });
  `);
  expect(code).toBe('"KERNEL_BUSY"');
  expect(message).toContain("no file descriptors left (EMFILE)");
});

it("tells of a shortage while it lasts, and leaves room for others", async () => {
  const said = await inShortage(`
    holdSpareDescriptors();
    say(refillSpareDescriptors() ?? "enough");
    takeAll();
    for (let round = 0; round < 2; round++) {
      const { used, limit } = refillSpareDescriptors();
      say([used > 200 && used < 256, limit]);
      closeSync(openSync("/dev/null", "r"));
    }
    giveAll();
    say(refillSpareDescriptors() ?? "enough");
  `);
  expect(said).toEqual(['"enough"', "[true,256]", "[true,256]", '"enough"']);
});
