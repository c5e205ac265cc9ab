// What becomes of the store's own certificates when the clock is wrong, either way, and is set right.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ClusterAuthority } from "./cluster-authority.ts";
import { type ClusterFiles, clusterFiles } from "./cluster-files.ts";
import { readCertificate } from "./keys.ts";
import { clockWarning, ensureOwnCertificates } from "./own-certificates.ts";

const dayMs = 86_400_000;
const start = Date.UTC(2026, 5, 1);
const names = ["192.0.2.1"];

let directory: string;
let files: ClusterFiles;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "flannel-own-"));
  files = clusterFiles(directory);
  await ClusterAuthority.create(files, false, start);
  await look(0);
});
afterEach(() => rmSync(directory, { recursive: true }));

/** What was written, on a day after the certificates were made. */
async function look(day: number, own = names): Promise<string[]> {
  return (await ensureOwnCertificates(files, own, start + day * dayMs)).map((file) => file.slice(directory.length + 1));
}

const all = ["ca.pem", "server.pem", "admin.pem"];
const texts = () => all.map((name) => readFileSync(join(directory, name), "utf8"));
const warningOn = (day: number) => clockWarning(files, start + day * dayMs);
const isValidOn = (day: number) =>
  all.every((name, index) => {
    const { validFromDate, validToDate } = readCertificate(texts()[index] ?? "", name);
    const at = start + day * dayMs;
    return validFromDate.getTime() <= at && validToDate.getTime() > at;
  });

it.each([-1, -2_700, -start / dayMs])("a clock that is %s days off changes nothing, and is reported", async (day) => {
  const before = texts();
  for (let count = 0; count < 3; count += 1) expect(await look(day)).toEqual([]);
  expect(texts()).toEqual(before);
  expect(warningOn(day)).toContain("ca.pem is not valid before 2026-05-31T23:00:00.000Z");
  expect(warningOn(0)).toBeUndefined();
});

it("what a clock that was ahead made goes with the first look at the right time, and what was before comes back", async () => {
  const before = texts();
  expect(await look(4_000)).toEqual(all);
  expect(await look(4_000)).toEqual([]);
  expect(await look(10)).toEqual(all);
  expect(texts()).toEqual(before);
  expect(await look(10)).toEqual([]);
});

it("what has become due meanwhile is recreated", async () => {
  const [ca] = texts();
  await look(4_000);
  expect(await look(300)).toEqual(all);
  expect(texts()[0]).toBe(ca);
  expect(isValidOn(300)).toBe(true);
  expect(await look(300)).toEqual([]);
});

it("a clock that is early by less than a renewal does not lose what was made by the right one", async () => {
  await look(250);
  const made = texts();
  expect(await look(200)).toEqual(["server.pem", "admin.pem"]);
  expect(isValidOn(200)).toBe(true);
  expect(await look(300)).toEqual(["server.pem", "admin.pem"]);
  expect(texts()).toEqual(made);
});

it("what had to be made by an early clock is recreated by the right one; the CA stays", async () => {
  const [ca] = texts();
  expect(await look(-2_700, ["192.0.2.2"])).toEqual(["server.pem"]);
  expect(await look(1, ["192.0.2.2"])).toEqual(["server.pem"]);
  expect(isValidOn(1)).toBe(true);
  expect(texts()[0]).toBe(ca);
});

it("a cluster that was made by a clock that was ahead gets a remedy that works", async () => {
  expect(await look(-10)).toEqual([]);
  expect(warningOn(-10)).toContain(`remove ca.pem, server.pem and admin.pem from ${directory}, and restart`);
  const { publicKey } = readCertificate(texts()[0] ?? "", "ca.pem");
  for (const name of all) rmSync(join(directory, name));
  expect(await look(-10)).toEqual(all);
  expect(isValidOn(-10)).toBe(true);
  expect(readCertificate(texts()[0] ?? "", "ca.pem").publicKey.equals(publicKey)).toBe(true);
});

it("what a clock that was ahead made twice, or for other names, is recreated by the right one", async () => {
  await look(400, ["192.0.2.2"]);
  expect(await look(10, ["192.0.2.2"])).toEqual(["server.pem", "admin.pem"]);
  expect(isValidOn(10)).toBe(true);
  await look(400);
  await look(800);
  await look(20);
  expect(isValidOn(20)).toBe(true);
  expect(await look(20)).toEqual([]);
  expect(warningOn(20)).toBeUndefined();
});

it("a former certificate that cannot be read is as good as none", async () => {
  await look(250);
  writeFileSync(join(directory, "server.pem.before"), "nothing");
  const [ca] = texts();
  expect(await look(200)).toEqual(["server.pem", "admin.pem"]);
  expect(texts()[0]).toBe(ca);
  expect(isValidOn(200)).toBe(true);
});
