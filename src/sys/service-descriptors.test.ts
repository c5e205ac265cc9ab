import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { expect, test } from "vitest";
import { openEventFd } from "./event-fd.ts";
import type { Fd } from "./fd.ts";
import { ServiceDescriptors } from "./service-descriptors.ts";
import { AF_UNIX, bindSocket, openSocket, receiveDatagram, SOCK_DGRAM } from "./socket.ts";

const module = new URL("./inherited-descriptors.ts", import.meta.url).href;
/** Says what a process with these variables was handed, and what the programs it starts see of that. */
const program = `
import { inheritedDescriptors } from ${JSON.stringify(module)};
import { spawnSync } from "node:child_process";
const inherited = inheritedDescriptors(process.env);
const { stdout } = spawnSync("sh", ["-c", "ls /proc/self/fd; env | grep -c ^LISTEN_"], { encoding: "utf8" });
const [first, second] = ["tun-flannel0", "udp4"].map((name) => inherited.get(name)?.number);
console.log(JSON.stringify({ first, second, seen: stdout.trim().split("\\n") }));
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
    return JSON.parse(stdout) as { first?: number; second?: number; seen: string[] };
  } finally {
    closeSync(file);
  }
}

test("what the service manager hands over is found by name and not passed on", () => {
  const taken = startWith("LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=tun-flannel0:udp4");
  expect(taken).toMatchObject({ first: 3, second: 4 });
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

/** A service manager that reads nothing until it is asked to. */
function openManager(name: string) {
  const fd = openSocket("test socket", AF_UNIX, SOCK_DGRAM, 0);
  bindSocket("test socket", fd, Uint8Array.of(AF_UNIX, 0, 0, ...Buffer.from(name.slice(1))));
  const buffer = new Uint8Array(256);
  const received = () => {
    const bytes = receiveDatagram("test socket", fd, buffer);
    return bytes === undefined ? undefined : Buffer.from(buffer.subarray(0, bytes)).toString();
  };
  return { received, [Symbol.dispose]: () => fd[Symbol.dispose]() };
}

const isOpen = (number: number) => existsSync(`/proc/self/fd/${number}`);

test("what is kept, given back and forgotten; the service manager is notified", () => {
  const name = `@flannel-descriptors-${process.pid}`;
  using manager = openManager(name);
  using descriptors = new ServiceDescriptors(new Map(), name);
  const fd = openEventFd();
  const { number } = fd;
  descriptors.keep("tun-flannel0", fd);
  expect(manager.received()).toBe("FDSTORE=1\nFDNAME=tun-flannel0\nFDPOLL=0");
  descriptors.giveBack("tun-flannel0", fd);
  expect(descriptors.take("tun-flannel0")).toBe(fd);
  expect(descriptors.take("tun-flannel0")).toBeUndefined();
  descriptors.giveBack("tun-flannel0", fd);
  expect([manager.received(), isOpen(number)]).toEqual([undefined, true]);
  descriptors.forgetHeld();
  expect([manager.received(), isOpen(number)]).toEqual(["FDSTOREREMOVE=1\nFDNAME=tun-flannel0", false]);
});

test("a service manager that does not read holds up nobody; what is held is closed all the same", () => {
  const name = `@flannel-stuck-${process.pid}`;
  using _manager = openManager(name);
  using descriptors = new ServiceDescriptors(new Map(), name);
  using other = openEventFd();
  expect(() => {
    for (let count = 0; count < 100_000; count++) descriptors.keep("udp4", other);
  }).toThrow("notify service manager");
  const held: Fd[] = [openEventFd(), openEventFd()];
  const numbers = held.map(({ number }) => number);
  for (const [index, fd] of held.entries()) descriptors.giveBack(`udp${index}`, fd);
  expect(() => descriptors.forgetHeld()).toThrow("notify service manager");
  expect(numbers.map(isOpen)).toEqual([false, false]);
});
