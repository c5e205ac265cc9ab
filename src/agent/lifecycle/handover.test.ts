import { expect, test } from "vitest";
import { recordingLogger } from "../../../test/support/host-fixture.ts";
import { FlannelError } from "../../errors.ts";
import { KeptHandover } from "./handover.ts";

type Handed = Parameters<KeptHandover["begin"]>[0];

/** Fails with each of `failures` in turn, then succeeds. */
function network(...failures: FlannelError[]) {
  const tries: string[] = [];
  const reconciler = {
    handover: () => {
      const failure = failures.shift();
      tries.push(failure?.code ?? "done");
      return failure === undefined ? Promise.resolve({ rewrittenRoutes: 0 }) : Promise.reject(failure);
    },
  };
  const handed = {
    backend: { runsDataPlane: false },
    runtime: { handOver: () => Promise.resolve(undefined) },
    reconciler,
    isOwnProgrammed: true,
  } as unknown as Handed;
  return { handed, tries };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const busy = () => new FlannelError("KERNEL_BUSY", "not running yet", { retryable: true });

async function keepTimes(kept: KeptHandover, handed: Handed, times: number) {
  const { logger, lines } = recordingLogger();
  for (let tick = 0; tick < times; tick++) {
    kept.keep(handed, logger);
    await turn();
  }
  return lines.map(({ event }) => event);
}

test("a reopened network is handed over at a later tick when the first fails for the moment; told once", async () => {
  const kept = new KeptHandover();
  await kept.begin(network().handed);
  const { handed, tries } = network(busy(), busy());
  expect(await keepTimes(kept, handed, 5)).toEqual(["handover.undone", "handover.again"]);
  expect(tries).toEqual(["KERNEL_BUSY", "KERNEL_BUSY", "done"]);
});

test("what is refused for good is not tried again, and nothing is done that nobody asked for", async () => {
  const kept = new KeptHandover();
  const refused = network(new FlannelError("CONFIG_INVALID", "cannot"));
  expect(await keepTimes(kept, refused.handed, 2)).toEqual([]);
  await kept.begin(network().handed);
  expect(await keepTimes(kept, refused.handed, 3)).toEqual(["handover.undone"]);
  expect(refused.tries).toEqual(["CONFIG_INVALID"]);
});
