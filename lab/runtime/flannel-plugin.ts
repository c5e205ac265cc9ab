// Upstream's CNI plugin `flannel`, for the lab. The module proxy has no github.com/flannel-io/cni-plugin; this is the last
// release of where it came from, by the same authors, on the CNI library that the plugin has now (so with its versions up to
// 1.1.0). What flannel-io/cni-plugin has changed since: several networks in subnet.env, text on standard error, and a DEL
// whose delegate fails, or whose scratch file is damaged, ends with success or without the scratch file.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildGoProgram, directoryOf, type GoProgram, type Progress } from "../go-program.ts";

const plugins = "github.com/containernetworking/plugins";

const program: GoProgram = {
  name: "upstream's CNI plugin flannel",
  fileName: "cni-flannel",
  source: fileURLToPath(new URL("flannel-plugin/", import.meta.url)),
  files: ["go.mod", "go.sum", "tools.go"],
  module: plugins,
  package: `${plugins}/plugins/meta/flannel`,
  versionVariable: `${plugins}/pkg/utils/buildversion.BuildVersion`,
  links: [],
  duration: "some seconds",
};

/** The program's path. It has to be there: `npm test` builds it before it starts the tests that need it. */
export function upstreamPlugin(): string {
  const path = join(directoryOf(program), program.fileName);
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: npm test -- system/long/cni-upstream builds it before it starts the tests`);
}

/** Builds it unless this machine has it. */
export function buildUpstreamPlugin(say: Progress): Promise<void> {
  return buildGoProgram(program, say);
}
