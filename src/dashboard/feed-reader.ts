// Follows the feed of the dashboard's server, a line of JSON for each message, and reconnects when it breaks off.
import type { FeedMessage } from "./messages.ts";

export type FeedState =
  | { readonly type: "connecting" | "live" }
  /** Since when nothing came, and why. */
  | { readonly type: "broken"; readonly sinceMs: number; readonly reason: string }
  /** Trying again is of no use. */
  | { readonly type: "ended"; readonly reason: string };

export interface FeedHandlers {
  readonly onMessage: (message: FeedMessage) => void;
  readonly onState: (state: FeedState) => void;
}

/** The server says something at least every 5 s. */
const SILENCE_MS = 15_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;

/** Never returns, unless the server refuses this page for good. */
export async function readFeed(url: string, { onMessage, onState }: FeedHandlers): Promise<void> {
  let waitMs = FIRST_WAIT_MS;
  let heardAtMs = Date.now();
  onState({ type: "connecting" });
  for (;;) {
    const reason = await readOnce(url, (message) => {
      waitMs = FIRST_WAIT_MS;
      heardAtMs = Date.now();
      onState({ type: "live" });
      onMessage(message);
    });
    if (reason.isFinal) return onState({ type: "ended", reason: reason.text });
    onState({ type: "broken", sinceMs: heardAtMs, reason: reason.text });
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
  }
}

interface End {
  readonly text: string;
  readonly isFinal: boolean;
}

/** Why it ended. */
async function readOnce(url: string, onMessage: (message: FeedMessage) => void): Promise<End> {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expectMore = () => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(), SILENCE_MS);
  };
  try {
    expectMore();
    const response = await fetch(url, { signal: controller.signal, cache: "no-store" });
    if (response.status !== 200 || response.body === null) {
      const text = (await response.text()).trim();
      return {
        text: text || `HTTP status ${response.status}`,
        isFinal: response.status === 401 || response.status === 403,
      };
    }
    const lines = new LineSplitter();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { text: "flannelctl dashboard has ended", isFinal: false };
      expectMore();
      for (const line of lines.add(value)) onMessage(JSON.parse(line) as FeedMessage);
    }
  } catch (error) {
    if (controller.signal.aborted) return { text: "flannelctl dashboard does not answer", isFinal: false };
    const reason = error instanceof Error ? error.message : String(error);
    return { text: `flannelctl dashboard cannot be reached (${reason})`, isFinal: false };
  } finally {
    clearTimeout(timer);
    controller.abort();
  }
}

/** Pieces of text to whole lines. */
export class LineSplitter {
  #rest: string[] = [];

  add(piece: string): string[] {
    const parts = piece.split("\n");
    const last = parts.pop() ?? "";
    if (parts.length === 0) {
      this.#rest.push(last);
      return [];
    }
    const lines = [this.#rest.join("") + (parts[0] ?? ""), ...parts.slice(1)];
    this.#rest = last === "" ? [] : [last];
    return lines.filter((line) => line !== "");
  }
}
