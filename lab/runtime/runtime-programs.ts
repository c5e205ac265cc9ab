// Newer runtimes than Debian's, for the lab: containerd 2, crictl, the standard CNI plugins with the verbs of CNI 1.1, and
// the verbs by the library that runtimes share. Built from their Go modules when they are missing.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildGoProgram, directoryOf, type GoProgram, type Progress } from "../go-program.ts";

const containerd = "github.com/containerd/containerd/v2";
const plugins = "github.com/containernetworking/plugins/plugins";

const programs: GoProgram = {
  name: "containerd 2 and crictl",
  fileName: "containerd",
  source: fileURLToPath(new URL("program/", import.meta.url)),
  files: ["go.mod", "go.sum", "main.go", "tools.go"],
  module: containerd,
  package: `${containerd}/cmd/containerd`,
  versionVariable: `${containerd}/version.Version`,
  links: [],
  besides: [
    { fileName: "containerd-shim-runc-v2", package: `${containerd}/cmd/containerd-shim-runc-v2` },
    { fileName: "ctr", package: `${containerd}/cmd/ctr` },
    { fileName: "crictl", package: "sigs.k8s.io/cri-tools/cmd/crictl" },
    { fileName: "cni-verbs", package: "." },
    { fileName: "bridge", package: `${plugins}/main/bridge` },
    { fileName: "loopback", package: `${plugins}/main/loopback` },
    { fileName: "host-local", package: `${plugins}/ipam/host-local` },
    { fileName: "portmap", package: `${plugins}/meta/portmap` },
  ],
  duration: "some two minutes on two cores",
};

/** Where they are, plugins and all. They have to be there: `npm test` builds them before it starts the tests that need them. */
export function runtimePrograms(): string {
  const directory = directoryOf(programs);
  if (existsSync(directory)) return directory;
  throw new Error(`${directory} is missing: npm test -- kube/long/runtimes builds it before it starts the tests`);
}

export type RuntimeProgram = "containerd" | "ctr" | "crictl" | "cni-verbs";

export function runtimeProgram(name: RuntimeProgram): string {
  return join(runtimePrograms(), name);
}

/** Builds them unless this machine has them: two minutes of a processor, 60 MB to download. */
export function buildRuntimePrograms(say: Progress): Promise<void> {
  return buildGoProgram(programs, say);
}
