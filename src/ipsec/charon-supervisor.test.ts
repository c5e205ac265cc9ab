// When charon is asked, and for what, with a charon and a kernel that are tables. Real ones: test/lab/ipsec.test.ts.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { parseAddress, parsePrefix } from "../ip/address.ts";
import { silentLogger } from "../telemetry/logger.ts";
import type { Association } from "./associations.ts";
import { CharonSession } from "./charon-session.ts";
import { CharonSupervisor } from "./charon-supervisor.ts";
import { connectionName, type WantedIpsec } from "./connection.ts";

const kernel = { read: (): readonly string[] => [] };

const peer = { key: "10.5.2.0-24", publicIp: parseAddress("192.0.2.2"), subnet: parsePrefix("10.5.2.0/24") };
const desired: WantedIpsec = {
  network: parsePrefix("10.5.0.0/16"),
  localAddress: parseAddress("192.0.2.1"),
  publicIp: parseAddress("192.0.2.1"),
  subnet: parsePrefix("10.5.1.0/24"),
  presharedKey: "x",
  espProposal: "aes128gcm16",
  usesUdpEncapsulation: false,
  isUserspace: false,
  peers: [peer],
  isComplete: true,
};

function association(child: number, number: string): Association {
  const none = { ageSeconds: 1, sentBytes: 0, receivedBytes: 0, sentPackets: 0, receivedPackets: 0 };
  return {
    connection: connectionName(desired, peer),
    ...{ id: 1, isEstablished: true, ageSeconds: 1, isInitiator: true, endpoint: "192.0.2.2:4500" },
    children: [{ id: child, ...none, isInUdp: false, numbers: [number], algorithm: "AES_GCM_16-128" }],
  };
}

/** A charon with one association, which ends on `end`. */
function openCharon(associations: () => readonly Association[]) {
  const closed = Promise.withResolvers<void>();
  const renew = vi.fn(async () => undefined);
  const session = {
    ...{ closed: closed.promise, isStarted: false, version: "5.9.8", renew },
    load: async () => undefined,
    unloaded: async () => [],
    associations: async () => associations(),
    [Symbol.asyncDispose]: async () => undefined,
  } as unknown as CharonSession;
  const open = vi.spyOn(CharonSession, "open").mockResolvedValueOnce(session);
  open.mockRejectedValue(new Error("charon does not start"));
  return { open, renew, end: () => closed.resolve() };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const start = () =>
  new CharonSupervisor({
    logger: silentLogger,
    onChange: () => undefined,
    espNumbers: async () => new Set(kernel.read()),
  });

it("tries ever more seldom to start a charon that is gone, whatever the kernel lacks of its associations", async () => {
  kernel.read = () => ["0a"];
  const charon = openCharon(() => [association(5, "0a")]);
  const supervisor = start();
  const applied = supervisor.apply(desired);
  await vi.advanceTimersByTimeAsync(1_000);
  await applied;
  kernel.read = () => [];
  charon.end();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(charon.open.mock.calls.length).toBeGreaterThan(2);
  expect(charon.open.mock.calls.length).toBeLessThan(10);
  await supervisor[Symbol.asyncDispose]();
});

it("takes keys for lost when they are missing twice, not when they were replaced between the two questions", async () => {
  let listed = association(5, "0a");
  kernel.read = () => ["0a"];
  const charon = openCharon(() => [listed]);
  const supervisor = start();
  const applied = supervisor.apply(desired);
  await vi.advanceTimersByTimeAsync(1_000);
  await applied;
  // A rekeying: the watch sees it late, and once more while charon's list is read.
  let reads = 0;
  kernel.read = () => {
    if (++reads === 2) listed = association(6, "0b");
    return ["0b"];
  };
  await vi.advanceTimersByTimeAsync(10_000);
  expect(reads).toBeGreaterThan(2);
  expect(charon.renew).not.toHaveBeenCalled();
  kernel.read = () => [];
  await vi.advanceTimersByTimeAsync(1_000);
  expect(charon.renew).toHaveBeenCalledTimes(1);
  await supervisor[Symbol.asyncDispose]();
});
