import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { type Image, writeImageArchive } from "./image-archive.ts";
import { type TarEntry, tarOf } from "./tar.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "image-"));
});

afterEach(() => rmSync(directory, { recursive: true }));

const longName = `${"directory/".repeat(14)}${"n".repeat(90)}`;

const entries: readonly TarEntry[] = [
  { path: "bin", content: "directory" },
  { path: "bin/program", content: Buffer.from("#!/bin/sh\n"), mode: 0o755 },
  { path: "bin/other", content: { linkTo: "program" } },
  { path: "empty", content: Buffer.alloc(0) },
  { path: "block", content: Buffer.alloc(512, 1) },
  { path: "tmp", content: "directory", mode: 0o1777 },
  { path: longName, content: Buffer.from("long") },
];

const image: Image = {
  name: "example.org/test:7",
  architecture: "amd64",
  createdSeconds: 0,
  config: { Entrypoint: ["/bin/program"], Env: ["PATH=/bin"] },
  layers: [entries.slice(0, 3), entries.slice(3)],
};

test("tar unpacks what was packed", () => {
  execFileSync("tar", ["-xf", "-", "-C", directory], { input: Buffer.concat([...tarOf(entries)]) });
  for (const { path, content, mode } of entries) {
    const stat = lstatSync(join(directory, path));
    if (content === "directory") expect([stat.isDirectory(), stat.mode & 0o7777]).toEqual([true, mode ?? 0o755]);
    else if (content instanceof Uint8Array) {
      expect(readFileSync(join(directory, path))).toEqual(content);
      expect(stat.mode & 0o7777).toBe(mode ?? 0o644);
    } else expect(readlinkSync(join(directory, path))).toBe(content.linkTo);
  }
});

test("a path is packed whole or refused", () => {
  const part = fc.stringMatching(/^[a-zé]{1,80}$/);
  const property = fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
    const path = parts.join("/");
    let header: Uint8Array;
    try {
      [header = new Uint8Array()] = tarOf([{ path, content: Buffer.alloc(0) }]);
    } catch (error) {
      expect(String(error)).toContain("too long");
      expect(Buffer.byteLength(path)).toBeGreaterThan(100);
      return;
    }
    const field = (start: number, end: number) => Buffer.from(header.subarray(start, end)).toString().split("\0")[0];
    expect([field(345, 500), field(0, 100)].filter((text) => text !== "").join("/")).toBe(path);
  });
  fc.assert(property, propertyRuns(10_000));
});

test.each([
  ["flannel:1", "docker.io/library/flannel:1"],
  ["some/flannel:1", "docker.io/some/flannel:1"],
  ["localhost/flannel:1", "localhost/flannel:1"],
  ["ghcr.io/flannel-io/flannel:v1", "ghcr.io/flannel-io/flannel:v1"],
])("containerd is told the whole name of %s", (name, qualified) => {
  const file = join(directory, "image.tar");
  writeImageArchive(file, { ...image, name }, 1);
  const index = execFileSync("tar", ["-xOf", file, "index.json"], { encoding: "utf8" });
  expect(JSON.parse(index).manifests[0].annotations["io.containerd.image.name"]).toBe(qualified);
});

test("an image is an OCI layout whose digests are true, and the same bytes each time", () => {
  const [first, second] = [join(directory, "first.tar"), join(directory, "second.tar")];
  expect(writeImageArchive(first, image, 1)).toBe(readFileSync(first).length);
  writeImageArchive(second, image, 1);
  expect(readFileSync(second)).toEqual(readFileSync(first));
  const layout = join(directory, "layout");
  mkdirSync(layout);
  execFileSync("tar", ["-xf", first, "-C", layout]);
  const read = (path: string) => JSON.parse(readFileSync(join(layout, path), "utf8"));
  const blob = ({ digest, size }: { digest: string; size: number }) => {
    const bytes = readFileSync(join(layout, "blobs", digest.replace(":", "/")));
    expect([`sha256:${createHash("sha256").update(bytes).digest("hex")}`, bytes.length]).toEqual([digest, size]);
    return bytes;
  };
  expect(read("oci-layout")).toEqual({ imageLayoutVersion: "1.0.0" });
  const manifest = JSON.parse(blob(read("index.json").manifests[0]).toString());
  const config = JSON.parse(blob(manifest.config).toString());
  expect(config).toMatchObject({ architecture: "amd64", os: "linux", config: { Entrypoint: ["/bin/program"] } });
  const root = join(directory, "root");
  mkdirSync(root);
  manifest.layers.forEach((layer: { digest: string; size: number }, index: number) => {
    writeFileSync(join(directory, "layer.tar.gz"), blob(layer));
    execFileSync("gunzip", ["-f", join(directory, "layer.tar.gz")]);
    const tar = readFileSync(join(directory, "layer.tar"));
    expect(config.rootfs.diff_ids[index]).toBe(`sha256:${createHash("sha256").update(tar).digest("hex")}`);
    execFileSync("tar", ["-xf", join(directory, "layer.tar"), "-C", root]);
  });
  expect(readFileSync(join(root, longName), "utf8")).toBe("long");
  const [saved] = read("manifest.json");
  expect(saved).toMatchObject({
    RepoTags: ["example.org/test:7"],
    Config: `blobs/${manifest.config.digest.replace(":", "/")}`,
  });
});
