// The container image of flannel: as an archive, which `npm run package -- image` writes and the tests run, and as files in
// a directory, of which the Dockerfile makes the same image.
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Architecture, ownArchitecture } from "../architecture.ts";
import { packageVersion, sourceDate } from "../checkout.ts";
import { type ImageConfig, writeImageArchive } from "./image-archive.ts";
import { imageLayers } from "./image-files.ts";

/** The Dockerfile says the same. */
export const imageConfig: ImageConfig = {
  Entrypoint: ["/opt/bin/flanneld"],
  Env: ["PATH=/opt/bin:/usr/sbin:/usr/bin", "FLANNEL_NODE=/usr/bin/node"],
  WorkingDir: "/",
  Labels: {
    "org.opencontainers.image.title": "flannel",
    "org.opencontainers.image.licenses": "Apache-2.0",
  },
};

export interface ImageOptions {
  /** `ghcr.io/flannel-io/flannel:v1`. */
  readonly name: string;
  readonly output: string;
  /** Large in a moment, or small in half a minute. */
  readonly isQuick: boolean;
  /** Default: this machine's. */
  readonly architecture?: Architecture;
  /** Default: that of the checkout. */
  readonly version?: string;
}

/** Of the built bundle. Gives the archive's size in bytes. Needs no network once `fetchImageFiles` has been there. */
export function packageImage({ name, output, isQuick, ...choice }: ImageOptions): number {
  const architecture = choice.architecture ?? ownArchitecture();
  const layers = imageLayers(architecture, choice.version ?? packageVersion());
  const image = {
    name,
    architecture: architecture.name,
    createdSeconds: sourceDate(),
    config: imageConfig,
    layers,
  };
  mkdirSync(dirname(output), { recursive: true });
  return writeImageArchive(output, image, isQuick ? 1 : 9);
}

/** What a version is called as an image: a tag holds no tilde. */
export function imageName(version: string): string {
  return `flannel:${version.replace("~", "-")}`;
}

/** Writes the image's files below `directory`, which is made. */
export function writeImageFiles(directory: string, architecture: Architecture, version: string): void {
  process.umask(0o022);
  mkdirSync(directory, { recursive: true });
  for (const { path, content, mode } of imageLayers(architecture, version).flat()) {
    const target = join(directory, path);
    if (content === "directory") {
      mkdirSync(target, { recursive: true });
      chmodSync(target, mode ?? 0o755);
    } else if (content instanceof Uint8Array) {
      writeFileSync(target, content);
      chmodSync(target, mode ?? 0o644);
    } else symlinkSync(content.linkTo, target);
  }
}
