// The list of the image's files: what is locked of Debian, what happens when a mirror has it no more, and that the
// Dockerfile says of the image what the archive says.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { root } from "../checkout.ts";
import { type DebianPackage, readLock, unpackedPackages } from "./debian-packages.ts";
import { imageConfig } from "./image.ts";
import { debianRoots } from "./image-files.ts";

test("both machines have the same packages of Debian, each with its checksum", () => {
  const { amd64, arm64 } = readLock().packages;
  expect(amd64.map(({ name }) => name)).toEqual(arm64.map(({ name }) => name));
  expect(amd64.map(({ name }) => name)).toEqual(expect.arrayContaining([...debianRoots, "libc6"]));
  for (const { file, sha256 } of [...amd64, ...arm64]) {
    expect(file).toMatch(/^pool\/.*_(amd64|arm64|all)\.deb$/);
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  }
});

test("the Dockerfile gives the image the same settings", () => {
  const text = readFileSync(join(root, "Dockerfile"), "utf8");
  const stage = text.slice(text.lastIndexOf("\nFROM scratch\n"));
  const instruction = (name: string) => new RegExp(`^${name} (.*)$`, "m").exec(stage)?.[1] ?? "";
  expect(JSON.parse(instruction("ENTRYPOINT"))).toEqual(imageConfig.Entrypoint);
  expect(instruction("WORKDIR")).toBe(imageConfig.WorkingDir);
  expect(instruction("ENV").split(" ")).toEqual(imageConfig.Env);
  const labels = [...instruction("LABEL").matchAll(/(\S+?)="([^"]*)"/g)].map(([, name, value]) => [name, value]);
  expect(Object.fromEntries(labels)).toEqual(imageConfig.Labels);
});

let mirror: string;

beforeEach(() => {
  mirror = mkdtempSync(join(tmpdir(), "mirror-"));
  vi.stubEnv("DEBIAN_MIRROR", `copy://${mirror}/`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(mirror, { recursive: true });
});

const file = "pool/main/n/nftables/nftables_1.1.3-1_amd64.deb";
const wanted: DebianPackage = { name: "nftables", version: "1.1.3-1", file, sha256: "0".repeat(64) };

test("a package that the mirror has no more is named, with the remedy", () => {
  expect(() => unpackedPackages([wanted])).toThrow(
    /nftables 1\.1\.3-1 \(pool\/.*404.*npm run package -- image --update-debian.*DEBIAN_MIRROR/s,
  );
});

test("a package with other bytes than the locked ones is refused", () => {
  mkdirSync(dirname(join(mirror, file)), { recursive: true });
  writeFileSync(join(mirror, file), "no package");
  expect(() => unpackedPackages([wanted])).toThrow(/nftables 1\.1\.3-1.*Hash Sum mismatch/s);
});
