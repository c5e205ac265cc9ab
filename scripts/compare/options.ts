// The command line of `npm run compare`. Pure.
import { parseArgs } from "node:util";

export type Mode = "neutral" | "upgrade";

export interface CompareOptions {
  /** A revision as git names it. */
  readonly base: string;
  readonly modes: readonly Mode[];
  /** Parts of world or scenario names; none: all. */
  readonly only: readonly string[];
  readonly help: boolean;
}

/** Wrong use: the message is a sentence for the person, the exit code 2. */
export class CompareUsageError extends Error {
  override readonly name = "CompareUsageError";
}

export const compareUsage = `Usage: npm run compare -- [--base REV] [--only NAME]... [neutral|upgrade]

Builds the revision --base beside this checkout and compares the two.

  neutral   build the same worlds with both: kernel, store, files, flannelctl's output and every --help must be the same;
            differences are printed as a diff. The results of both stay in .cache/compare
  upgrade   replace agents of the base by agents of this checkout and back, under traffic: no packet may be lost, and the
            new agents must take over leases, files, rules and remembered state

Without neutral or upgrade, it does both.

  --base REV    revision to compare with (default HEAD~1); its build is kept in .cache/builds
  --only NAME   only worlds or scenarios whose name contains NAME; may be given several times
  --yes         answer yes to the questions of the set-up
  --help        this text

Exit codes: 0 the same, 1 a difference or a failure, 2 wrong use.
`;

/** Throws CompareUsageError for an unknown option or word. */
export function parseCompareOptions(argv: readonly string[]): CompareOptions {
  const { values, positionals } = parse(argv);
  const [word, ...more] = positionals;
  if (more.length > 0) throw new CompareUsageError(`${more.join(" ")}: at most one of neutral and upgrade.`);
  if (word !== undefined && word !== "neutral" && word !== "upgrade") {
    throw new CompareUsageError(`${word}: there is no such comparison; choose neutral or upgrade.`);
  }
  const base = values.base ?? "HEAD~1";
  if (base === "" || base.startsWith("-")) throw new CompareUsageError(`--base=${base}: must be a revision of git.`);
  const modes: readonly Mode[] = word === undefined ? ["neutral", "upgrade"] : [word];
  return { base, modes, only: values.only ?? [], help: values.help ?? false };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        base: { type: "string" },
        only: { type: "string", multiple: true },
        yes: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    // Node's sentence names the option; what follows the first full stop is advice for programmers.
    const message = error instanceof Error ? error.message : String(error);
    throw new CompareUsageError(`${message.split(". ")[0]?.replace(/\.$/, "")}.`, { cause: error });
  }
}

/** The plans that are wanted. Throws CompareUsageError when there are none. */
export function selectPlans<T extends { readonly name: string }>(
  plans: readonly T[],
  only: readonly string[],
): readonly T[] {
  const selected = plans.filter(({ name }) => only.length === 0 || only.some((part) => name.includes(part)));
  if (selected.length > 0) return selected;
  throw new CompareUsageError(`--only=${only.join(",")}: matches none of ${plans.map(({ name }) => name).join(", ")}.`);
}
