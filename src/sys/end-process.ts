// The end of a program that has released everything of its own.
import { exitImmediately } from "./libc.ts";

/**
 * Ends the process with that code, as _exit(2) does: without Node's own clean-up, which waits for V8's helper threads. One
 * of them that waits for a garbage collection of the main thread waits for ever (seen with Node 24.21: Environment::Exit
 * joins a thread in CollectionBarrier::AwaitCollectionBackground), and an agent that does not end is not started again.
 * What was written to standard output and standard error is out: Linux writes to them synchronously.
 */
export function endProcess(code: number): never {
  exitImmediately(code);
  throw new Error("unreachable");
}
