// The container image of flannel, as an archive: what `npm run package -- image` writes and the tests run.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type Image, writeImageArchive } from "./image-archive.ts";
import { flannelFiles, systemFiles } from "./image-files.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const architectures: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" };

export interface ImageOptions {
  /** `ghcr.io/flannel-io/flannel:v1`. */
  readonly name: string;
  readonly output: string;
  /** Large in a moment, or small in half a minute. */
  readonly isQuick: boolean;
}

/** Of the running Node and the built bundle. Gives the archive's size in bytes. */
export function packageImage({ name, output, isQuick }: ImageOptions): number {
  const architecture = architectures[process.arch];
  if (architecture === undefined) throw new Error(`there is no image for ${process.arch}, only for x64 and arm64`);
  const image: Image = {
    name,
    architecture,
    config: {
      Entrypoint: ["/opt/bin/flanneld"],
      Env: ["PATH=/opt/bin:/usr/sbin:/usr/bin", "FLANNEL_NODE=/usr/bin/node"],
      WorkingDir: "/",
      Labels: {
        "org.opencontainers.image.title": "flannel",
        "org.opencontainers.image.licenses": "Apache-2.0",
      },
    },
    layers: [systemFiles(process.execPath), flannelFiles(root)],
  };
  mkdirSync(dirname(output), { recursive: true });
  return writeImageArchive(output, image, isQuick ? 1 : 9);
}
