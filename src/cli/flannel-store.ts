// Entry point of flannel-store: listens to signals, then loads the program.
import { listenToSignals } from "./daemon-signals.ts";

const signals = listenToSignals();
const { runFlannelStore } = await import("./flannel-store-program.ts");
await runFlannelStore(signals);
