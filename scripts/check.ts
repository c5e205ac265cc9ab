// `npm run check`: all that can be said about the sources without root, etcd or a lab. Every step is tried, and what a
// failed one said is shown. `--without-tests` leaves the unit tests out, for runs that have them elsewhere.
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { longFiles, WARN_LINES } from "./long-files.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const searchPath = [join(root, "node_modules/.bin"), dirname(process.execPath), process.env["PATH"]].join(delimiter);

interface Step {
  readonly what: string;
  readonly argv: readonly string[];
}

/** Every generator can say with `--check` whether what it wrote is still what it would write. */
function generatedFiles(): Step[] {
  const generators = readdirSync(fileURLToPath(new URL(".", import.meta.url)))
    .filter((name) => /^generate-.*\.(ts|sh)$/.test(name))
    .sort();
  return generators.map((name) => {
    const runner = name.endsWith(".ts") ? "node" : "sh";
    return { what: name.replace(/^generate-(.*)\..*$/, "$1 up to date"), argv: [runner, `scripts/${name}`, "--check"] };
  });
}

function steps(): Step[] {
  const folders = ["src", "lab", "test", "scripts", "bench", "packaging"];
  return [
    { what: "format and lint", argv: ["biome", "check", "--error-on-warnings", "--max-diagnostics=100"] },
    { what: "promises", argv: ["oxlint"] },
    { what: "types", argv: ["tsc", "--noEmit", "-p", "."] },
    { what: "types of the page", argv: ["tsc", "--noEmit", "-p", "src/dashboard"] },
    { what: "import rule", argv: ["depcruise", ...folders] },
    { what: "dead code", argv: ["knip"] },
    { what: "words", argv: ["node", "scripts/check-words.ts"] },
    ...generatedFiles(),
    { what: "unit tests", argv: ["vitest", "run", "--project", "unit"] },
  ];
}

/** What the step said if it failed, undefined if all is well. */
function failureOf(argv: readonly string[]): Promise<string | undefined> {
  const [command = "", ...rest] = argv;
  return new Promise((resolve) => {
    execFile(
      command,
      rest,
      { cwd: root, env: { ...process.env, PATH: searchPath }, maxBuffer: 1 << 26 },
      (error, stdout, stderr) => {
        resolve(error === null ? undefined : `${stdout}${stderr}` || error.message);
      },
    );
  });
}

async function isPassed({ what, argv }: Step): Promise<boolean> {
  const started = performance.now();
  const said = await failureOf(argv);
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
  console.log(`${said === undefined ? "ok    " : "FAILED"} ${seconds} s  ${what}`);
  if (said !== undefined) console.log(`\n${argv.join(" ")}\n${said.trimEnd()}\n`);
  return said === undefined;
}

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.find((arg) => arg !== "--without-tests");
  if (unknown !== undefined) {
    console.error(`check: unknown argument ${unknown}; known: --without-tests`);
    return 2;
  }
  const failed: string[] = [];
  const wanted = steps().filter(({ what }) => what !== "unit tests" || args.length === 0);
  const queue = wanted.values();
  const takeSteps = async () => {
    for (const step of queue) if (!(await isPassed(step))) failed.push(step.what);
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, takeSteps));
  for (const { file, lines } of longFiles(root))
    console.log(`warning: ${file} has ${lines} lines, more than ${WARN_LINES}`);
  console.log(failed.length === 0 ? "check: all well" : `check: failed: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
