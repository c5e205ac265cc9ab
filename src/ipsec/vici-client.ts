// A connection to charon's control socket: one request after another, and events as they come.
import { createConnection, type Socket } from "node:net";
import { describeError, FlannelError } from "../errors.ts";
import { textOf, type ViciFields, type ViciSection } from "./vici-message.ts";
import {
  encodeRegistration,
  encodeRequest,
  encodeUnregistration,
  PacketReader,
  type ViciAnswer,
} from "./vici-packet.ts";

const ANSWER_TIMEOUT_MS = 10_000;
/** One list of security associations: some 1 KiB each. */
const MAX_LISTED = 100_000;

export type OnEvent = (name: string, message: ViciSection) => void;

interface Waiter {
  readonly what: string;
  readonly resolve: (answer: ViciAnswer) => void;
  readonly reject: (error: FlannelError) => void;
  readonly timer: NodeJS.Timeout;
}

/** Errors name the command, never what was sent with it: that may be a secret. */
export class ViciClient implements AsyncDisposable {
  /** Settled, without an error, once the connection has ended. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #reader = new PacketReader();
  readonly #onEvent: OnEvent;
  #waiter: Waiter | undefined;
  #lane: Promise<unknown> = Promise.resolve();
  #failure: FlannelError | undefined;
  #listed: { readonly event: string; readonly found: ViciSection[] } | undefined;

  private constructor(socket: Socket, onEvent: OnEvent) {
    this.#socket = socket;
    this.#onEvent = onEvent;
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#fail(connectionEnded());
        resolve();
      });
    });
    socket.on("error", (error) => this.#fail(connectionEnded(error)));
    socket.on("data", (piece: Buffer) => this.#onData(piece));
  }

  /** Throws `KERNEL_BUSY`, retryable, when nobody listens there. `onEvent` is called for events that were registered. */
  static async connect(path: string, onEvent: OnEvent = () => undefined): Promise<ViciClient> {
    const socket = createConnection(path);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", (cause) => {
        reject(
          new FlannelError("KERNEL_BUSY", `charon does not listen at ${path}: ${describeError(cause)}`, {
            cause,
            retryable: true,
          }),
        );
      });
    });
    return new ViciClient(socket, onEvent);
  }

  /** Throws `KERNEL_REJECTED` with charon's own words when it refuses. */
  async request(command: string, message: ViciFields = {}): Promise<ViciSection> {
    return await this.#inLane(() => this.#command(command, message));
  }

  /** For commands that answer with a stream of events: all of them. */
  async list(command: string, event: string, message: ViciFields = {}): Promise<readonly ViciSection[]> {
    return await this.#inLane(async () => {
      await this.#exchange(`register ${event}`, encodeRegistration(event), "confirmed");
      const found: ViciSection[] = [];
      this.#listed = { event, found };
      try {
        await this.#command(command, message);
      } finally {
        this.#listed = undefined;
      }
      await this.#exchange(`unregister ${event}`, encodeUnregistration(event), "confirmed");
      return found;
    });
  }

  /** From now on events of that name are reported. */
  async register(event: string): Promise<void> {
    await this.#inLane(() => this.#exchange(`register ${event}`, encodeRegistration(event), "confirmed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #inLane<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#lane.then(work);
    this.#lane = result.catch(() => undefined);
    return result;
  }

  async #command(command: string, message: ViciFields): Promise<ViciSection> {
    const answer = await this.#exchange(command, encodeRequest(command, message), "response");
    const response = answer.type === "response" ? answer.message : new Map<string, string>();
    if (textOf(response, "success") === "no") {
      const words = textOf(response, "errmsg") ?? "refused";
      throw new FlannelError("KERNEL_REJECTED", `charon ${command}: ${words.slice(0, 300)}`, { retryable: true });
    }
    return response;
  }

  async #exchange(what: string, packet: Uint8Array, expected: ViciAnswer["type"]): Promise<ViciAnswer> {
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, resolve, reject } = Promise.withResolvers<ViciAnswer>();
    const timer = setTimeout(() => {
      const seconds = ANSWER_TIMEOUT_MS / 1000;
      // A late answer would be taken for the next one's.
      this.#end(new FlannelError("KERNEL_BUSY", `charon ${what}: no answer within ${seconds} s`, { retryable: true }));
    }, ANSWER_TIMEOUT_MS);
    this.#waiter = { what, resolve, reject, timer };
    this.#socket.write(packet);
    const answer = await promise;
    if (answer.type === expected) return answer;
    throw new FlannelError(
      "KERNEL_UNSUPPORTED",
      `this charon does not know ${what}: strongSwan 5.2 or newer is needed`,
    );
  }

  #onData(piece: Uint8Array): void {
    let answers: ViciAnswer[];
    try {
      answers = this.#reader.push(piece);
    } catch (error) {
      this.#end(error instanceof FlannelError ? error : connectionEnded(error));
      return;
    }
    for (const answer of answers) {
      if (answer.type === "event") this.#onEventPacket(answer.name, answer.message);
      else this.#answer(answer);
    }
  }

  #onEventPacket(name: string, message: ViciSection): void {
    if (name !== this.#listed?.event) this.#onEvent(name, message);
    else if (this.#listed.found.length < MAX_LISTED) this.#listed.found.push(message);
  }

  #answer(answer: ViciAnswer): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) return;
    clearTimeout(waiter.timer);
    waiter.resolve(answer);
  }

  #end(error: FlannelError): void {
    this.#fail(error);
    this.#socket.destroy();
  }

  #fail(error: FlannelError): void {
    this.#failure ??= error;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) return;
    clearTimeout(waiter.timer);
    waiter.reject(this.#failure);
  }
}

function connectionEnded(cause?: unknown): FlannelError {
  const why = cause === undefined ? "" : `: ${describeError(cause)}`;
  return new FlannelError("KERNEL_BUSY", `the connection to charon ended${why}`, { cause, retryable: true });
}
