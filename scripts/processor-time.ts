// How much of the processor the test-suite uses, from /proc/self/stat (proc_pid_stat(5), clock ticks of 10 ms).
import { readFileSync } from "node:fs";

let alreadyTaken = 0;

/** Seconds of processor time of all descendants that have ended and were waited for. */
export function endedProcessorSeconds(): number {
  const text = readFileSync("/proc/self/stat", "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/**
 * What came since the last call. Called as a child ends, it is that child's and all its descendants': the kernel adds them
 * when the child is waited for.
 */
export function takeReapedSeconds(): number {
  const ended = endedProcessorSeconds();
  const taken = ended - alreadyTaken;
  alreadyTaken = ended;
  return taken;
}
