// The embedded store and a real etcd are driven with the same random sequences by several clients: every answer and
// every watch must be the same, revision by revision.
import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { propertyRuns, scaled } from "../support/fuzz.ts";
import { EmbeddedServer } from "./embedded-server.ts";
import { type Step, sequence } from "./random-operations.ts";
import { ServerUnderTest } from "./sequence-run.ts";

const SEQUENCES = 1_000;
const OPERATIONS = 100;
const CLIENTS = 3;
/** Much of the time is waiting for answers: several pairs of servers share the sequences. */
const PAIRS = 3;

/** Both servers and their clients. */
class Pair implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #etcd: ServerUnderTest;
  readonly #embedded: ServerUnderTest;

  private constructor(stack: AsyncDisposableStack, etcd: ServerUnderTest, embedded: ServerUnderTest) {
    this.#stack = stack;
    this.#etcd = etcd;
    this.#embedded = embedded;
  }

  static async start(): Promise<Pair> {
    const stack = new AsyncDisposableStack();
    const real = stack.use(await EtcdServer.start());
    const ours = stack.use(await EmbeddedServer.start({ inMemory: true }));
    const clients = [real, ours].map(({ endpoints }) => stack.use(new ServerUnderTest(endpoints, CLIENTS)));
    return new Pair(stack, clients[0]!, clients[1]!);
  }

  async compareSequence(steps: readonly Step[]): Promise<void> {
    const both = [this.#etcd, this.#embedded];
    await Promise.all(both.map((server) => server.begin()));
    for (const step of steps) {
      // What a watch is told of the time before depends on when it is told.
      if (step.operation.type === "compact" || step.operation.type === "cancel") await this.#compareWatches();
      const [expected, actual] = await Promise.all(both.map((server) => server.carryOut(step)));
      if (!isDeepStrictEqual(actual, expected)) expect(actual, JSON.stringify(step)).toEqual(expected);
    }
    await this.#compareWatches();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }

  /** Events arrive when they like: waits until both tell the same. */
  async #compareWatches(): Promise<void> {
    if (this.#etcd.hasPastWatch) await delay(150);
    this.#etcd.hasPastWatch = false;
    for (const end = performance.now() + DEADLINE_MS; performance.now() < end; await delay(2)) {
      if (isDeepStrictEqual(this.#embedded.watched(), this.#etcd.watched())) return;
    }
    expect(this.#embedded.watched(), "watches").toEqual(this.#etcd.watched());
  }
}

test.concurrent.each(Array.from({ length: PAIRS }, (_, index) => index))(
  `${scaled(SEQUENCES)} sequences of ${OPERATIONS} operations by ${CLIENTS} clients: answers and watches as etcd's (part %i)`,
  { timeout: 1_500_000 },
  async (index) => {
    await using pair = await Pair.start();
    const property = fc.asyncProperty(sequence(OPERATIONS, CLIENTS), (steps) => pair.compareSequence(steps));
    await fc.assert(property, {
      ...propertyRuns(SEQUENCES, { index, of: PAIRS }),
      // Cutting a sequence down takes ages where each attempt waits for watches; the failure names the step.
      endOnFailure: true,
      // Minutes at most, but a busy machine is no difference.
      interruptAfterTimeLimit: 1_400_000,
      markInterruptAsFailure: true,
    });
  },
);
