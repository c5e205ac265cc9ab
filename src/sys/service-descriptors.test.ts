import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { expect, test } from "vitest";

const module = new URL("./service-descriptors.ts", import.meta.url).href;
/** Says what a process with these variables was handed, and what the programs it starts see of that. */
const program = `
import { ServiceDescriptors } from ${JSON.stringify(module)};
import { spawnSync } from "node:child_process";
using descriptors = new ServiceDescriptors();
const { stdout } = spawnSync("sh", ["-c", "ls /proc/self/fd; env | grep -c ^LISTEN_"], { encoding: "utf8" });
const [first, second] = ["tun-flannel0", "udp4"].map((name) => descriptors.take(name)?.number);
console.log(JSON.stringify({ first, second, again: descriptors.take("tun-flannel0")?.number, seen: stdout.trim().split("\\n") }));
`;

function startWith(environment: string) {
  const file = openSync("/dev/null", "r");
  try {
    const script = `${environment} exec "$0" --disable-warning=ExperimentalWarning --input-type=module -e "$1"`;
    const argv = ["-c", script, process.execPath, program];
    const { stdout, stderr } = spawnSync("sh", argv, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe", file, file],
    });
    expect(stderr).toBe("");
    return JSON.parse(stdout) as { first?: number; second?: number; again?: number; seen: string[] };
  } finally {
    closeSync(file);
  }
}

test("what the service manager hands over is taken by name, once, and not passed on", () => {
  const taken = startWith("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=tun-flannel0:udp4");
  expect(taken).toMatchObject({ first: 3, second: 4 });
  expect(taken.again).toBeUndefined();
  expect(taken.seen).not.toContain("4");
  expect(taken.seen.at(-1)).toBe("0");
});

test.each([
  ["for another process", "LISTEN_PID=1 LISTEN_FDS=2 LISTEN_FDNAMES=tun-flannel0:udp4"],
  ["none", "LISTEN_PID=$$ LISTEN_FDS=0 LISTEN_FDNAMES="],
  ["not a number", "LISTEN_PID=$$ LISTEN_FDS=many LISTEN_FDNAMES=tun-flannel0:udp4"],
  ["without names", "LISTEN_PID=$$ LISTEN_FDS=2"],
  ["fewer names than descriptors", "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=tun-flannel0:udp4"],
  ["none of the kind", ""],
])("%s: nothing is taken", (_, environment) => {
  const { first, second, seen } = startWith(environment);
  expect([first, second]).toEqual([undefined, undefined]);
  expect(seen.at(-1)).toBe("0");
});
