// The bundle: built from exactly the present sources, whole in itself, not taken for built when broken.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";

const checkout = fileURLToPath(new URL("../..", import.meta.url));
const program = (greeting: string) => `
  import koffi from "koffi";
  using _guard = { [Symbol.dispose]() {} };
  const { late } = await import("./late.ts");
  console.log(${JSON.stringify(greeting)}, koffi.load("libc.so.6").func("int getpid()")() === process.pid, late);
`;

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "build-"));
  for (const name of [
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "scripts/build.ts",
    "scripts/small-aws-client.ts",
  ]) {
    cpSync(join(checkout, name), join(root, name));
  }
  symlinkSync(join(checkout, "node_modules"), join(root, "node_modules"));
  mkdirSync(join(root, "src/cli"), { recursive: true });
  writeFileSync(join(root, "src/cli/late.ts"), 'export const late = "late";');
  for (const name of ["flanneld", "flannelctl", "flannel-store"])
    writeFileSync(join(root, `src/cli/${name}.ts`), program("first"));
  mkdirSync(join(root, "src/dashboard"));
  writeFileSync(join(root, "src/dashboard/main.tsx"), 'import "./page.css"; console.log("a page");');
  writeFileSync(join(root, "src/dashboard/page.css"), "body { margin: 0 }");
  writeFileSync(join(root, "src/dashboard/page.html"), "<style>/*style*/</style><script>/*script*/</script>");
  mkdirSync(join(root, "src/tunnel"));
  writeFileSync(join(root, "src/tunnel/tunnel-worker.ts"), 'console.log("a thread");');
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function build(...args: string[]) {
  const result = spawnSync(process.execPath, ["scripts/build.ts", ...args], { cwd: root, encoding: "utf8" });
  return { code: result.status, output: result.stdout, errors: result.stderr };
}

const run = (dist: string) => spawnSync(process.execPath, [join(dist, "flanneld.mjs")], { encoding: "utf8" }).stdout;

it("works without the checkout around it", () => {
  expect(build()).toMatchObject({ code: 0, errors: "" });
  const elsewhere = mkdtempSync(join(tmpdir(), "dist-"));
  cpSync(join(root, "dist"), elsewhere, { recursive: true });
  expect(run(elsewhere)).toBe("first true late\n");
  rmSync(elsewhere, { recursive: true });
});

it("carries the last commit that changed a source, and says when files differ from it", () => {
  const git = (...args: string[]) => {
    const identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
    return execFileSync("git", [...identity, ...args], { cwd: root, encoding: "utf8" }).trim();
  };
  const late = join(root, "src/cli/late.ts");
  writeFileSync(late, 'declare const FLANNEL_COMMIT: string; export const late = "commit " + FLANNEL_COMMIT;');
  writeFileSync(join(root, ".gitignore"), "dist\nnode_modules\n");
  expect(build()).toMatchObject({ code: 0, errors: "" });
  expect(run(join(root, "dist"))).toBe("first true commit \n");
  git("init", "--quiet");
  git("add", ".");
  git("commit", "--quiet", "-m", "sources");
  const commit = git("rev-parse", "--short=12", "HEAD");
  git("commit", "--quiet", "--allow-empty", "-m", "no source");
  expect(build("--if-stale").output).toContain("built");
  expect(run(join(root, "dist"))).toBe(`first true commit ${commit}\n`);
  writeFileSync(join(root, "src/cli/new.ts"), "");
  expect(build("--if-stale").output).toContain("built");
  expect(run(join(root, "dist"))).toBe(`first true commit ${commit}-dirty\n`);
});

it("is built anew only when a source changed, came or went", () => {
  expect(build("--if-stale").output).toContain("built");
  expect(build("--if-stale").output).toBe("");
  writeFileSync(join(root, "src/cli/flanneld.ts"), program("second"));
  expect(build("--if-stale").output).toContain("built");
  expect(run(join(root, "dist"))).toBe("second true late\n");
  writeFileSync(join(root, "src/cli/new.ts"), "");
  expect(build("--if-stale").output).toContain("built");
  rmSync(join(root, "src/cli/new.ts"));
  expect(build("--if-stale").output).toContain("built");
  writeFileSync(join(root, "src/cli/new.test.ts"), "");
  expect(build("--if-stale").output).toBe("");
});

it("makes the page one file, with its script and style in it, and knows when a part of it changed", () => {
  build();
  const page = () => readFileSync(join(root, "dist/dashboard.html"), "utf8");
  expect(page()).toBe('<style>body{margin:0}</style><script>console.log("a page");</script>');
  writeFileSync(join(root, "src/dashboard/page.css"), "body { margin: 1px }");
  expect(build("--if-stale").output).toContain("built");
  expect(page()).toContain("margin:1px");
  writeFileSync(join(root, "src/dashboard/main.tsx"), 'document.title = "<!-- <script>";');
  expect(build().code).toBe(1);
});

it("leaves no files of the bundle before", () => {
  build();
  const before = readdirSync(join(root, "dist"));
  writeFileSync(join(root, "src/cli/late.ts"), 'export const late = "later";');
  build();
  const after = readdirSync(join(root, "dist"));
  expect(after).toHaveLength(before.length);
  expect(run(join(root, "dist"))).toBe("first true later\n");
});

it("keeps the old bundle when the sources do not build, and is not taken for built when a program does not start", () => {
  build();
  writeFileSync(join(root, "src/cli/flanneld.ts"), 'import "./nowhere.ts";');
  expect(build("--if-stale")).toMatchObject({ code: 1, output: "" });
  expect(run(join(root, "dist"))).toBe("first true late\n");
  writeFileSync(join(root, "src/cli/flanneld.ts"), 'throw new Error("no start");');
  expect(build("--if-stale").code).toBe(1);
  expect(build("--if-stale").code).toBe(1);
  expect(() => readFileSync(join(root, "dist/build-stamp"))).toThrow("ENOENT");
});
