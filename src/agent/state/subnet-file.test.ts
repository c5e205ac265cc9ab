import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeFileAtomically } from "../../sys/files.ts";
import { readSubnetFile } from "./subnet-file.ts";

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "subnet-file-"));
  path = join(directory, "run", "flannel", "subnet.env");
});
afterEach(() => rmSync(directory, { recursive: true }));

describe("readSubnetFile", () => {
  it("reads the subnets, and nothing from a missing file", async () => {
    const warnings: string[] = [];
    expect(readSubnetFile(path, (message) => warnings.push(message))).toEqual({});
    await writeFileAtomically(path, "FLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_IPV6_SUBNET=x\n");
    expect(warnings).toEqual([]);
    expect(readSubnetFile(path, (message) => warnings.push(message))).toEqual({ subnet: "10.5.72.0/24" });
    expect(warnings).toEqual([`${path}: FLANNEL_IPV6_SUBNET: "x" is not an IPv6 subnet: ignoring it`]);
  });

  it.each([
    ["a directory", (file: string) => void mkdirSync(file), "the path is not a regular file"],
    [
      "a FIFO",
      (file: string) => void execFileSync("sh", ["-c", 'mkfifo "$1"', "sh", file]),
      "the path is not a regular file",
    ],
    [
      "a huge file",
      (file: string) => writeFileSync(file, "x".repeat(70_000)),
      "the file has 70000 bytes, which is too large",
    ],
  ])("warns about %s and goes on", (_name, make, reason) => {
    mkdirSync(join(directory, "run", "flannel"), { recursive: true });
    make(path);
    const warnings: string[] = [];
    expect(readSubnetFile(path, (message) => warnings.push(message))).toEqual({});
    expect(warnings).toEqual([`cannot read the subnet file ${path}: ${reason}`]);
    expect(existsSync(path)).toBe(true);
  });
});
