// The wait on real descriptors: what is ready is found, whether it was there before or comes while it sleeps.
import { readSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { openEventFd, signalEventFd } from "../sys/event-fd.ts";
import { Arena } from "./arena.ts";
import { PacketWait } from "./packet-wait.ts";

const owned: Disposable[] = [];
const open = () => {
  const fd = openEventFd();
  owned.push(fd);
  return fd;
};

afterEach(() => {
  for (const resource of owned.splice(0)) resource[Symbol.dispose]();
});

/** Each descriptor is an eventfd: readable once it was written to. */
function setUp() {
  const [tun, udp4, wakeUp] = [open(), open(), open()];
  const waiting = new PacketWait(new Arena(), {
    tun: tun.number,
    udp4: udp4.number,
    udp6: -1,
    wakeUp: wakeUp.number,
  });
  return { tun, udp4, wakeUp, waiting };
}

const found = ({ tunIsReady, udp4IsReady, udp6IsReady }: PacketWait) => [tunIsReady, udp4IsReady, udp6IsReady];

describe("PacketWait", () => {
  it("tells which descriptor has something", () => {
    const { tun, udp4, waiting } = setUp();
    signalEventFd(udp4);
    waiting.wait(0, 0, 0);
    expect(found(waiting)).toEqual([false, true, false]);
    signalEventFd(tun);
    waiting.wait(0, 0, 0);
    expect(found(waiting)).toEqual([true, true, false]);
  });

  it("takes a call of the control plane once", () => {
    const { wakeUp, waiting } = setUp();
    signalEventFd(wakeUp);
    waiting.wait(0, 0, 0);
    expect(found(waiting)).toEqual([false, false, false]);
    expect(() => readSync(wakeUp.number, new Uint8Array(8))).toThrow("EAGAIN");
  });

  it("sleeps until something comes, however often it looked in vain", async () => {
    const { tun, waiting } = setUp();
    for (let round = 0; round < 40; round++) {
      // Another thread writes while this one is in the kernel.
      const script = `setTimeout(() => require("node:fs").writeSync(${tun.number}, new Uint8Array(BigUint64Array.of(1n).buffer)), 1)`;
      const worker = new Worker(script, { eval: true });
      const ended = new Promise((resolve) => worker.once("exit", resolve));
      waiting.wait(0, 0, 0);
      expect(found(waiting)).toEqual([true, false, false]);
      await ended;
      readSync(tun.number, new Uint8Array(8));
    }
  });
});
