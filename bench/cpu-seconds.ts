// What a process has cost.
import { readdir, readFile } from "node:fs/promises";

/** CPU time of all threads so far; the kernel counts it in nanoseconds, where /proc/PID/stat has hundredths. */
export async function cpuSeconds(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const texts = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/schedstat`, "utf8")));
  return texts.reduce((sum, text) => sum + Number(text.split(" ")[0]) / 1e9, 0);
}
