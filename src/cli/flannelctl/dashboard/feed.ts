// One client's stream of news from the board. A client that reads slowly is sent less often, one that does not read is dropped.
import type { ServerResponse } from "node:http";
import type { Board } from "./board.ts";

/** Changes within this time are one message. */
const GATHER_MS = 50;
const UNREAD_FOR_MS = 20_000;
/** A connection that is dead without a word is noticed, at both ends. */
const HEARTBEAT_MS = 5_000;

/** Runs until the client goes; answers have begun when it returns. */
export function startFeed(response: ServerResponse, board: Board): void {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  response.flushHeaders();
  const feed = new Feed(response, board);
  response.once("close", () => feed[Symbol.dispose]());
}

type Waiting = { readonly type: "news" } | { readonly type: "turn" | "drain"; readonly timer: NodeJS.Timeout };

class Feed implements Disposable {
  readonly #response: ServerResponse;
  readonly #board: Board;
  readonly #following: Disposable;
  readonly #heartbeat: NodeJS.Timeout;
  #version = 0;
  #waiting: Waiting = { type: "news" };
  #sentAtMs = performance.now();

  constructor(response: ServerResponse, board: Board) {
    this.#response = response;
    this.#board = board;
    this.#following = board.follow(() => this.#onNews());
    response.on("drain", () => this.#onDrained());
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#send();
  }

  #onNews(): void {
    if (this.#waiting.type !== "news") return;
    this.#waiting = { type: "turn", timer: setTimeout(() => this.#send(), GATHER_MS) };
  }

  #onDrained(): void {
    if (this.#waiting.type !== "drain") return;
    clearTimeout(this.#waiting.timer);
    this.#send();
  }

  #send(): void {
    this.#waiting = { type: "news" };
    const news = this.#board.since(this.#version);
    if (news === undefined) return;
    this.#version = news.version;
    this.#write(news.text);
  }

  #beat(): void {
    if (this.#waiting.type === "news" && performance.now() - this.#sentAtMs >= HEARTBEAT_MS / 2) this.#write("{}\n");
  }

  #write(text: string): void {
    this.#sentAtMs = performance.now();
    if (this.#response.write(text)) return;
    this.#waiting = { type: "drain", timer: setTimeout(() => this.#response.destroy(), UNREAD_FOR_MS) };
  }

  [Symbol.dispose](): void {
    this.#following[Symbol.dispose]();
    clearInterval(this.#heartbeat);
    if (this.#waiting.type !== "news") clearTimeout(this.#waiting.timer);
  }
}
