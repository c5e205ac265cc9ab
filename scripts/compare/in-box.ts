// Starts a script of ours in a box of its own.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { boxed } from "../../lab/box.ts";

/**
 * Runs `script` with `task` as JSON; what it prints is shown. Gives its exit code. The box and all in it end with it, and
 * with this process.
 */
export function runInBox(script: URL, task: unknown): Promise<number> {
  const [program = "", ...rest] = boxed([process.execPath, fileURLToPath(script), JSON.stringify(task)]);
  const box = spawn(program, rest, { stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve, reject) => {
    box.on("error", reject);
    box.on("close", (code) => resolve(code ?? 1));
  });
}
