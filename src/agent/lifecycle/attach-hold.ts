// The file beside subnet.env that holds back the attaching of containers: while it is there, the CNI plugin `flannel` answers
// ADD and STATUS with "try again later" and the reason that is in it. The plugin is a script: this is all of our state that
// it can read at no cost. It outlives the agent, so that a host which has not been ready since its boot stays held back.
import { rmSync, utimesSync, writeFileSync } from "node:fs";
import { attachHoldFile } from "../../lease/subnet-env.ts";
import { fileVersion } from "../../sys/files.ts";
import { oneLine } from "../../terminal/foreign-text.ts";
import type { StateReason } from "./agent-state.ts";
import { HOLD_MS } from "./state-follower.ts";
import type { AgentState } from "./state-reasons.ts";

/** A line for a person, of which the plugin makes an error message. */
const MAX_REASON_CHARACTERS = 400;

export interface AttachState {
  /** As reported. */
  readonly state: AgentState;
  readonly reasons: readonly StateReason[];
}

/**
 * `takenOver`: the network was in place when this agent came: its start alone holds nobody back. `following`: the reported state decides.
 * `released`: for good, another program is to take over.
 */
type Stage =
  | {
      readonly name: "takenOver";
      /** Since when something else than the start has been against `ready`, on the monotonic clock. */
      readonly obstructedSinceMs: number | undefined;
    }
  | { readonly name: "following" | "released" };

export class AttachHold {
  readonly #subnetFile: string;
  readonly #file: string;
  readonly #monotonicMs: () => number;
  #stage: Stage;
  /** Of the subnet file when the hold was written: the plugin ignores a hold older than that file. */
  #subnetFileVersion = "";
  #written = "";

  /** Holds back at once where there is no subnet file, as after a boot. */
  constructor(subnetFile: string, monotonicMs: () => number = () => performance.now()) {
    this.#subnetFile = subnetFile;
    this.#file = attachHoldFile(subnetFile);
    this.#monotonicMs = monotonicMs;
    const isTakenOver = fileVersion(subnetFile) !== "" && fileVersion(this.#file) === "";
    this.#stage = isTakenOver ? { name: "takenOver", obstructedSinceMs: undefined } : { name: "following" };
    if (!isTakenOver) this.#hold("flanneld has not been ready since it was started");
  }

  /** Cheap when nothing changed; to be called with every change of the state, and now and then. */
  follow(reported: AttachState): void {
    if (this.#stage.name === "released") return;
    if (reported.state !== "notReady") {
      this.#stage = { name: "following" };
      this.#remove();
      return;
    }
    if (this.#stage.name === "takenOver" && !this.#isObstructed(reported.reasons, this.#stage.obstructedSinceMs))
      return;
    const against = reported.reasons.filter(({ state }) => state === "notReady").map(({ message }) => message);
    this.#hold(against.join("; ") || "it is starting");
  }

  /** For good: another program is to take over. */
  release(): void {
    this.#stage = { name: "released" };
    this.#remove();
  }

  /** A restart is no obstacle, nor is a store that has not confirmed what we go on with: the kernel forwards. */
  #isObstructed(reasons: readonly StateReason[], sinceMs: number | undefined): boolean {
    const isObstacle = reasons.some(({ name, state }) => state === "notReady" && name !== "lease-unconfirmed");
    const nowMs = this.#monotonicMs();
    const obstructedSinceMs = isObstacle ? (sinceMs ?? nowMs) : undefined;
    this.#stage = { name: "takenOver", obstructedSinceMs };
    return obstructedSinceMs !== undefined && nowMs - obstructedSinceMs >= HOLD_MS;
  }

  /** What fails here is tried again with the next call; a full /run says so by the subnet file. */
  #hold(reason: string): void {
    const text = `${oneLine(reason).slice(0, MAX_REASON_CHARACTERS)}\n`;
    const version = fileVersion(this.#subnetFile);
    const isThere = fileVersion(this.#file) !== "";
    if (isThere && text === this.#written && version === this.#subnetFileVersion) return;
    try {
      if (isThere && text === this.#written) utimesSync(this.#file, new Date(), new Date());
      else writeFileSync(this.#file, text, { mode: 0o644 });
      this.#written = text;
      this.#subnetFileVersion = version;
    } catch {
      this.#written = "";
    }
  }

  #remove(): void {
    if (this.#written === "" && fileVersion(this.#file) === "") return;
    this.#written = "";
    try {
      rmSync(this.#file, { force: true });
    } catch {
      // A directory that cannot be written: the subnet file's own failure says so.
    }
  }
}
