// Attachments as libcni and host-local leave their traces, in their order.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { until } from "../../lab/wait.ts";
import { AttachmentCounter, type AttachmentCounts } from "./attachment-counter.ts";
import { type ContainerNetwork, containerNetwork } from "./container-network.ts";

let directory: string;
let network: ContainerNetwork;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cni-counts-"));
  network = containerNetwork(directory, "cbr0");
});
afterEach(() => rmSync(directory, { recursive: true }));

const resultOf = (id: string) => join(directory, "results", `cbr0-${id}-eth0`);
const addressesOf = (number: number) =>
  [`10.5.7.${number}`, `fd00:5::${number}`].map((address) => join(network.reservations, address));

function makeDirectories(): void {
  for (const path of [network.reservations, join(directory, "results")]) mkdirSync(path, { recursive: true });
}

function reserve(number: number): void {
  for (const file of addressesOf(number)) writeFileSync(file, `c${number}\r\neth0`);
}

function free(number: number): void {
  for (const file of addressesOf(number)) rmSync(file);
}

function add(number: number): void {
  reserve(number);
  writeFileSync(resultOf(`c${number}`), "{}");
}

function del(number: number): void {
  free(number);
  rmSync(resultOf(`c${number}`));
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

function untilCounts(counter: AttachmentCounter, expected: AttachmentCounts): Promise<unknown> {
  const look = () => {
    counter.resync();
    expect(counter.counts).toEqual(expected);
    return true;
  };
  return until(look, { what: "the counts" });
}

test("counts what comes and goes, and not what was there before", async () => {
  makeDirectories();
  add(1);
  using counter = new AttachmentCounter(network);
  add(2);
  writeFileSync(join(directory, "results", "other-c2-eth0"), "{}");
  await untilCounts(counter, { attached: 1, detached: 0, failed: 0 });
  expect(counter.present).toBe(2);
  del(1);
  del(2);
  await untilCounts(counter, { attached: 1, detached: 2, failed: 0 });
});

test("a network with a longer name is another one, and an id with a dash is known by its address", async () => {
  makeDirectories();
  const id = "4f".repeat(32);
  const write = (name: string) => writeFileSync(join(directory, "results", name), "{}");
  write(`cbr0-blue-${id.replace("4", "5")}-eth0`);
  using counter = new AttachmentCounter(network);
  expect(counter.present).toBe(0);
  write(`cbr0-${id}-eth0`);
  write(`cbr0-blue-${id}-eth0`);
  await untilCounts(counter, { attached: 1, detached: 0, failed: 0 });
  const reservation = addressesOf(1)[0] ?? "";
  writeFileSync(reservation, "cnitool-77383ca0a0715733ca6f\r\neth0");
  await turn();
  write("cbr0-cnitool-77383ca0a0715733ca6f-eth0");
  await untilCounts(counter, { attached: 2, detached: 0, failed: 0 });
  expect(counter.present).toBe(2);
  rmSync(reservation);
  rmSync(join(directory, "results", "cbr0-cnitool-77383ca0a0715733ca6f-eth0"));
  await untilCounts(counter, { attached: 2, detached: 1, failed: 0 });
});

test("a container with a dash in its id stays attached for as long as it lives, also over a restart", async () => {
  makeDirectories();
  const [reservation = ""] = addressesOf(1);
  const result = join(directory, "results", "cbr0-default-4f5f-eth0");
  {
    using counter = new AttachmentCounter(network);
    writeFileSync(reservation, "default-4f5f\r\neth0");
    await turn();
    writeFileSync(result, "{}");
    await untilCounts(counter, { attached: 1, detached: 0, failed: 0 });
    const later = performance.now() + 3_600_000;
    vi.spyOn(performance, "now").mockReturnValue(later);
    counter.resync();
    counter.resync();
    vi.restoreAllMocks();
    expect([counter.present, counter.counts.detached]).toEqual([1, 0]);
  }
  using counter = new AttachmentCounter(network);
  expect(counter.present).toBe(1);
  rmSync(reservation);
  rmSync(result);
  await untilCounts(counter, { attached: 0, detached: 1, failed: 0 });
});

test("an attempt that gave its addresses back is one failure, heard at once or late", async () => {
  makeDirectories();
  using counter = new AttachmentCounter(network);
  reserve(1);
  await turn();
  free(1);
  await untilCounts(counter, { attached: 0, detached: 0, failed: 1 });
  reserve(2);
  free(2);
  await untilCounts(counter, { attached: 0, detached: 0, failed: 2 });
});

test("a container that came and went before anybody looked is no failure", async () => {
  makeDirectories();
  using counter = new AttachmentCounter(network);
  for (const number of [1, 2, 3]) {
    add(number);
    del(number);
  }
  await untilCounts(counter, { attached: 3, detached: 3, failed: 0 });
  add(4);
  await turn();
  del(4);
  await untilCounts(counter, { attached: 4, detached: 4, failed: 0 });
});

test("directories come with the first container, and may be recreated", async () => {
  using counter = new AttachmentCounter(network);
  counter.resync();
  makeDirectories();
  add(1);
  await untilCounts(counter, { attached: 1, detached: 0, failed: 0 });
  rmSync(join(directory, "results"), { recursive: true });
  await untilCounts(counter, { attached: 1, detached: 1, failed: 0 });
  makeDirectories();
  writeFileSync(resultOf("c1"), "{}");
  await untilCounts(counter, { attached: 2, detached: 1, failed: 0 });
});

test("without results of a runtime nothing is called a failure", async () => {
  mkdirSync(network.reservations, { recursive: true });
  using counter = new AttachmentCounter(network);
  reserve(1);
  await turn();
  free(1);
  reserve(2);
  free(2);
  const marker = join(network.reservations, "10.5.7.99");
  writeFileSync(marker, "c99\r\neth0");
  await until(() => counter.reserved.has("10.5.7.99"), { what: "the last event" });
  await untilCounts(counter, { attached: 0, detached: 0, failed: 0 });
});
