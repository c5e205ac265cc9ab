// The Helm chart as one file, as `helm install` takes it, and the plain manifests beside it: the same for every machine.
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { root } from "./checkout.ts";
import { imageName } from "./image/image.ts";
import { type TarEntry, tarOf } from "./image/tar.ts";

const chart = "deploy/chart/flannel";
const manifests = ["kube-flannel.yml", "kube-flannel-cleanup.yml"];

/** Writes chart and manifests, which run the image of this version, into `directory`; returns the files. */
export function makeChart(version: string, directory: string): readonly string[] {
  const image = imageName(version);
  const tag = image.slice(image.indexOf(":") + 1);
  const archive = join(directory, `flannel-${tag}.tgz`);
  writeFileSync(archive, gzipSync(Buffer.concat([...tarOf(chartFiles(tag))]), { level: 9 }));
  return [
    archive,
    ...manifests.map((name) => {
      const text = readFileSync(join(root, "deploy/kubernetes", name), "utf8");
      const target = join(directory, name);
      writeFileSync(target, text.replaceAll(/^( *image: )flannel:.*$/gm, `$1${image}`));
      return target;
    }),
  ];
}

/** Without the sets of values for the tests. A version of a chart is SemVer, as a tag is. */
function chartFiles(tag: string): readonly TarEntry[] {
  const files = globSync(["*.{yaml,json}", "templates/*"], { cwd: join(root, chart) }).sort();
  return files.map((name) => {
    const text = readFileSync(join(root, chart, name), "utf8");
    const content = name === "Chart.yaml" ? text.replaceAll(/^(version|appVersion): .*$/gm, `$1: "${tag}"`) : text;
    return { path: `flannel/${name}`, content: Buffer.from(content) };
  });
}
