// Writes the plain manifests and the patches of the kustomize overlays from the Helm chart, with helm, which is built when
// the machine lacks it. With --check it only says which of them are stale (exit 1).
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { checkout, filesFromChart } from "../lab/kubernetes/chart.ts";
import { buildHelm } from "../lab/kubernetes/program.ts";

await buildHelm((message) => console.log(message));
for (const [path, text] of await filesFromChart()) {
  const file = join(checkout, path);
  if (readOrEmpty(file) === text) continue;
  if (process.argv.includes("--check")) {
    console.error(`${path} is stale: run node scripts/write-kube-manifests.ts`);
    process.exitCode = 1;
  } else writeFileSync(file, text);
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
