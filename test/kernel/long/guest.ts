// What programs that run on a second kernel have in common: they print one line of JSON for each question, and the test on the
// machine's own kernel judges them.
import { writeSync } from "node:fs";
import type { LabAgent } from "../../../lab/agent.ts";
import { until } from "../../../lab/wait.ts";

/** At once: what a console has not written yet is lost with the guest. */
export function tell(name: string, value: unknown): void {
  writeSync(1, `${JSON.stringify({ [name]: value })}\n`);
}

/** What the guest told, by name. Prints how long each damage lasted. */
export function told(output: string): Readonly<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const line of output.split(/\r?\n/)) if (line.startsWith("{")) Object.assign(found, JSON.parse(line));
  for (const [what, value] of Object.entries(found)) {
    const { healedMs, lookMs } = (value ?? {}) as Partial<Healing>;
    if (healedMs === undefined || lookMs === undefined) continue;
    console.log(`${what}: healed after ${healedMs} ms, where a look takes ${lookMs} ms`);
  }
  return found;
}

/** How long a damage lasted, and how long a look at the host takes that finds nothing wrong. */
interface Healing {
  readonly healedMs: number;
  readonly lookMs: number;
}

const HEALED_MS = 1_000;
/** Beside other work a guest is many times slower than the machine: a look, which starts a few programs, tells how much. */
const LOOKS = 12;

/** What is told of one damage, for `expect`: it lasted a second at most, as far as the guest's slowness goes. */
export const healed = {
  asymmetricMatch: (told: unknown): boolean => {
    const { healedMs = Number.NaN, lookMs = Number.NaN } = (told ?? {}) as Partial<Healing>;
    return healedMs <= HEALED_MS + LOOKS * lookMs;
  },
  toString: () => `healed within ${HEALED_MS} ms and the time of ${LOOKS} looks`,
};

/** The longer of two. */
export async function timeOfLook(look: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let count = 0; count < 2; count++) {
    const startMs = performance.now();
    await look();
    times.push(performance.now() - startMs);
  }
  return Math.round(Math.max(...times));
}

/**
 * Does each damage by `act`, waits until `view` is as before, and tells how long that took. The agent must have counted a repair:
 * a damage without effect would be as before at once.
 */
export async function tellHealing(
  damages: readonly (readonly [what: string, words: readonly string[]])[],
  act: (...words: readonly string[]) => Promise<string>,
  view: () => Promise<string>,
  agent: LabAgent,
): Promise<void> {
  const repairs = async () => (await agent.status()).repairs.total;
  const before = await view();
  for (const [what, words] of damages) {
    try {
      const lookMs = await timeOfLook(view);
      const repairsBefore = await repairs();
      await act(...words);
      const startMs = performance.now();
      await until(async () => (await view()) === before, { what: `${what} to be healed`, intervalMs: 5 });
      const healedMs = Math.round(performance.now() - startMs);
      await until(async () => (await repairs()) > repairsBefore, { what: `the repair of ${what} to be counted` });
      tell(what, { healedMs, lookMs });
    } catch (error) {
      tell(what, { error: String(error), found: await view(), before });
    }
  }
}
