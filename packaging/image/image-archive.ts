// Writes a container image as one archive without any daemon: an OCI image layout that also has the index of
// `docker save`, so that `ctr images import`, `podman load`, `docker load` and `skopeo copy oci-archive:` take it.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { type TarEntry, tarOf } from "./tar.ts";

export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

export interface Image {
  /** As `docker pull` names it: `ghcr.io/flannel-io/flannel:v1`. */
  readonly name: string;
  /** Go's name of it: `amd64`. */
  readonly architecture: string;
  readonly config: ImageConfig;
  /** Seconds since 1970. */
  readonly createdSeconds: number;
  /** Each is the list of its files; what changes most often last. */
  readonly layers: readonly (readonly TarEntry[])[];
}

/** Compression of the layers: 1 is quick, 9 small. */
type Level = 1 | 9;

interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly bytes: Uint8Array;
}

/** Writes the archive and gives its size in bytes. The same image has the same bytes. */
export function writeImageArchive(file: string, image: Image, level: Level): number {
  const layers = image.layers.map((entries) => layerOf(entries, level));
  const config = jsonBlob("application/vnd.oci.image.config.v1+json", {
    architecture: image.architecture,
    os: "linux",
    created: new Date(image.createdSeconds * 1000).toISOString(),
    config: image.config,
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const manifest = jsonBlob("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: descriptorOf(config),
    layers: layers.map(({ blob }) => descriptorOf(blob)),
  });
  const tag = image.name.slice(image.name.lastIndexOf(":") + 1);
  const named = { "io.containerd.image.name": qualifiedName(image.name), "org.opencontainers.image.ref.name": tag };
  const platform = { architecture: image.architecture, os: "linux" };
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [{ ...descriptorOf(manifest), platform, annotations: named }],
  };
  const saved = [{ Config: pathOf(config), RepoTags: [image.name], Layers: layers.map(({ blob }) => pathOf(blob)) }];
  const archive = Buffer.concat([
    ...tarOf([
      { path: "oci-layout", content: Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" })) },
      { path: "index.json", content: Buffer.from(JSON.stringify(index)) },
      { path: "manifest.json", content: Buffer.from(JSON.stringify(saved)) },
      { path: "blobs", content: "directory" },
      { path: "blobs/sha256", content: "directory" },
      ...[config, manifest, ...layers.map(({ blob }) => blob)].map((blob) => ({
        path: pathOf(blob),
        content: blob.bytes,
      })),
    ]),
  ]);
  writeFileSync(file, archive);
  return archive.length;
}

/** As container runtimes complete a short name: `flannel:1` is `docker.io/library/flannel:1`. */
function qualifiedName(name: string): string {
  const [first = "", ...rest] = name.split("/");
  if (rest.length === 0) return `docker.io/library/${name}`;
  return /[.:]|^localhost$/.test(first) ? name : `docker.io/${name}`;
}

function layerOf(entries: readonly TarEntry[], level: Level): { readonly blob: Blob; readonly diffId: string } {
  const tar = Buffer.concat([...tarOf(entries)]);
  const blob = blobOf("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(tar, { level }));
  return { blob, diffId: sha256(tar) };
}

function jsonBlob(mediaType: string, value: object): Blob {
  return blobOf(mediaType, Buffer.from(JSON.stringify(value)));
}

function blobOf(mediaType: string, bytes: Uint8Array): Blob {
  return { mediaType, digest: sha256(bytes), size: bytes.length, bytes };
}

function descriptorOf({ mediaType, digest, size }: Blob): Pick<Blob, "mediaType" | "digest" | "size"> {
  return { mediaType, digest, size };
}

function pathOf(blob: Blob): string {
  return `blobs/${blob.digest.replace(":", "/")}`;
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
