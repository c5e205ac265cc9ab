import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { DeviceClaims } from "./device-claims.ts";

const keys = "VNI (vxlan)";
const directory = mkdtempSync(join(tmpdir(), "claims-"));
afterAll(() => rmSync(directory, { recursive: true }));

it("gives a device to one agent at a time, and all or nothing", () => {
  {
    using _first = DeviceClaims.take(["flannel.1"], keys, directory);
    expect(() => DeviceClaims.take(["flannel.2", "flannel.1"], keys, directory)).toThrow(
      expect.objectContaining({ code: "AGENT_RUNNING", details: { device: "flannel.1", pid: process.pid } }),
    );
    using second = DeviceClaims.take(["flannel.2"], keys, directory);
    expect(second.tryAdd("flannel.1", directory)).toBe(false);
    expect(second.tryAdd("flannel.3", directory)).toBe(true);
  }
  expect(readdirSync(directory)).toEqual([]);
  using _again = DeviceClaims.take(["flannel.1", "flannel.2"], keys, directory);
});

it("does without where no file can be made", () => {
  using _claims = DeviceClaims.take(["flannel.1"], keys, "/proc/nowhere");
});
