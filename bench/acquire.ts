// 200 hosts that want a subnet at the same moment, from one etcd, in a network with room for 254.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Etcd } from "../lab/etcd.ts";
import type { AcquirerMessage } from "./acquirer.ts";
import type { BenchSet } from "./bench-set.ts";
import { medianFigure } from "./bench-set.ts";

const ACQUIRERS = 200;
const PROCESSES = 4;
const acquirer = fileURLToPath(new URL("acquirer.ts", import.meta.url));

export const acquireSet: BenchSet = {
  name: "acquire",
  title: `${ACQUIRERS} acquirers at once against one etcd`,
  async run({ rounds, progress }) {
    await using etcd = await Etcd.start();
    const seconds: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`);
      seconds.push(await acquireAll(etcd, `/acquire/${round}`));
    }
    return {
      figures: [
        medianFigure({ name: "until the last one has its subnet, all distinct", unit: "s", atMost: 10 }, seconds),
      ],
      notes: [`In ${PROCESSES} processes; each acquirer has a connection of its own. 10.5.0.0/16 with /24 subnets.`],
    };
  },
};

/** Seconds from the common start to the last lease. */
async function acquireAll(etcd: Etcd, prefix: string): Promise<number> {
  await etcd.put(`${prefix}/config`, '{"Network":"10.5.0.0/16"}');
  const each = ACQUIRERS / PROCESSES;
  const children = Array.from({ length: PROCESSES }, (_, index) =>
    spawn(process.execPath, [acquirer, etcd.endpoints, prefix, `${index * each}`, `${each}`], {
      stdio: ["pipe", "pipe", "inherit"],
    }),
  );
  try {
    const messages = children.map(messagesOf);
    for (const stream of messages) await expectMessage(stream, "ready");
    const startedMs = performance.now();
    for (const child of children) child.stdin?.end("go\n");
    const acquired = await Promise.all(messages.map((stream) => expectMessage(stream, "acquired")));
    const seconds = (performance.now() - startedMs) / 1_000;
    const keys = acquired.flatMap((message) => message.keys);
    const inStore = await etcd.list(`${prefix}/subnets/`);
    const distinct = new Set(keys).size;
    if (distinct !== ACQUIRERS || inStore.length !== ACQUIRERS) {
      throw new Error(`${ACQUIRERS} acquirers hold ${distinct} subnets, the store has ${inStore.length}`);
    }
    return seconds;
  } finally {
    await Promise.all(children.map(end));
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGKILL");
  await closed;
}

async function* messagesOf(child: ChildProcess): AsyncGenerator<AcquirerMessage> {
  if (child.stdout === null) return;
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line) as AcquirerMessage;
}

async function expectMessage(
  stream: AsyncGenerator<AcquirerMessage>,
  type: AcquirerMessage["type"],
): Promise<AcquirerMessage> {
  const { value } = (await stream.next()) as { value?: AcquirerMessage };
  if (value?.type !== type) throw new Error(`an acquirer ended before it was ${type}`);
  return value;
}
