// One owner for each descriptor, and reading on the event loop, with real sockets and pipes.
import { closeSync, existsSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Fd } from "./fd.ts";
import { notifyService } from "./service-notify.ts";
import { AF_UNIX, bindSocket, openSocket, receiveDatagram, SOCK_DGRAM, sendDatagram } from "./socket.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-fd-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function isOpen(fd: number): boolean {
  return existsSync(`/proc/self/fd/${fd}`);
}

/** sockaddr_un */
function unixAddress(name: string): Uint8Array {
  return Uint8Array.of(AF_UNIX, 0, ...Buffer.from(name));
}

/** A bound datagram socket that collects what arrives until there are `wanted` texts. */
function receiver(name: string) {
  const fd = openSocket("test socket", AF_UNIX, SOCK_DGRAM, 0);
  bindSocket("test socket", fd, unixAddress(name));
  const texts: string[] = [];
  const buffer = new Uint8Array(1024);
  const receive = (): boolean => {
    const length = receiveDatagram("receive", fd, buffer);
    if (length !== undefined) texts.push(Buffer.from(buffer.subarray(0, length)).toString());
    return length !== undefined;
  };
  return { fd, texts, receive };
}

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; !condition(); turn++) {
    if (turn > 100_000) throw new Error("the condition never came true");
    await nextTurn();
  }
}

describe("Fd", () => {
  test("closes exactly once, never a descriptor that is another's by now", () => {
    const fd = new Fd(openSync("/dev/null", "r"));
    const number = fd.number;
    fd[Symbol.dispose]();
    expect(isOpen(number)).toBe(false);
    expect(fd.isClosed).toBe(true);
    const successor = openSync("/dev/null", "r");
    expect(successor).toBe(number);
    fd[Symbol.dispose]();
    expect(isOpen(successor)).toBe(true);
    closeSync(successor);
    expect(() => fd.number).toThrow("already closed");
  });

  test("sockets are closed on exec and never block", () => {
    using fd = openSocket("test socket", AF_UNIX, SOCK_DGRAM, 0);
    const info = Buffer.alloc(256);
    const file = openSync(`/proc/self/fdinfo/${fd.number}`, "r");
    const text = info.toString("utf8", 0, readSync(file, info));
    closeSync(file);
    const flags = Number.parseInt(/flags:\s+(\d+)/.exec(text)?.[1] ?? "", 8);
    expect(flags & 0o2000000).not.toBe(0);
    expect(flags & 0o4000).not.toBe(0);
  });

  test("drains in turns while there is more, waits for the next input, and promises go on", async () => {
    const { fd, texts, receive } = receiver(join(directory, "s"));
    let resolved = 0;
    fd.watchReadable(() => {
      const hasMore = receive();
      Promise.resolve().then(
        () => resolved++,
        () => undefined,
      );
      return hasMore;
    });
    expect(() => fd.watchReadable(() => false)).toThrow("already watched");
    using sender = openSocket("sender", AF_UNIX, SOCK_DGRAM, 0);
    for (const round of ["a", "b"]) {
      for (const text of [`${round}1`, `${round}2`]) {
        sendDatagram("send", sender, Buffer.from(text), unixAddress(join(directory, "s")));
      }
      await until(() => texts.includes(`${round}2`));
    }
    expect(texts).toEqual(["a1", "a2", "b1", "b2"]);
    expect(resolved).toBeGreaterThanOrEqual(4);
    fd[Symbol.dispose]();
  });

  test("after dispose the watcher is silent, also when input was pending", async () => {
    const { fd, texts, receive } = receiver(join(directory, "s"));
    fd.watchReadable(receive);
    using sender = openSocket("sender", AF_UNIX, SOCK_DGRAM, 0);
    sendDatagram("send", sender, Buffer.from("late"), unixAddress(join(directory, "s")));
    fd[Symbol.dispose]();
    for (let turn = 0; turn < 10; turn++) await nextTurn();
    expect(texts).toEqual([]);
  });
});

test("a datagram longer than the buffer gives its true length", () => {
  const { fd } = receiver(join(directory, "s"));
  using sender = openSocket("sender", AF_UNIX, SOCK_DGRAM, 0);
  sendDatagram("send", sender, new Uint8Array(100), unixAddress(join(directory, "s")));
  expect(receiveDatagram("receive", fd, new Uint8Array(10))).toBe(100);
  expect(receiveDatagram("receive", fd, new Uint8Array(10))).toBeUndefined();
  fd[Symbol.dispose]();
});

describe("notifyService", () => {
  test("does nothing when no service manager asks", () => {
    expect(notifyService("READY=1", "")).toBe(false);
  });

  test.each(["path", "abstract"])("sends one datagram to a socket by %s", (form) => {
    const name = form === "path" ? join(directory, "notify") : `\0${directory}/notify`;
    const { fd, texts, receive } = receiver(name);
    expect(notifyService("READY=1\nSTATUS=3 peers", name.replace("\0", "@"))).toBe(true);
    receive();
    expect(texts).toEqual(["READY=1\nSTATUS=3 peers"]);
    fd[Symbol.dispose]();
  });

  test("says where it failed, and refuses names of other kinds", () => {
    expect(() => notifyService("READY=1", join(directory, "absent"))).toThrow(/absent: ENOENT/);
    expect(() => notifyService("READY=1", "vsock:2:1")).toThrow("NOTIFY_SOCKET=vsock:2:1");
    expect(() => notifyService("READY=1", `/${"x".repeat(108)}`)).toThrow("neither an absolute path");
  });
});
