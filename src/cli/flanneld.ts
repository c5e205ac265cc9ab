// Entry point of flanneld: listens to signals, then loads the program.
import { fileURLToPath } from "node:url";
import { listenToSignals } from "./daemon-signals.ts";

const signals = listenToSignals();
/** Beside us: a bundle next to a bundle, a source next to a source. */
const storeProgram = fileURLToPath(import.meta.url).replace(/flanneld(\.m?[jt]s)$/, "flannel-store$1");
const { runFlanneld } = await import("./flanneld-program.ts");
await runFlanneld(signals, storeProgram);
