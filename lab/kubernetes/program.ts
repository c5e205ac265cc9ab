// Kubernetes itself, for the lab: one program for all its parts. And helm, with which people install charts.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildGoProgram, directoryOf, type GoProgram, type Progress } from "../go-program.ts";

export type KubernetesProgram = "apiserver" | "controller-manager" | "scheduler" | "proxy" | "kubelet" | "kubectl";

const kubernetes: GoProgram = {
  name: "Kubernetes",
  fileName: "kubernetes",
  source: fileURLToPath(new URL("program/", import.meta.url)),
  files: ["go.mod", "go.sum", "main.go"],
  module: "k8s.io/kubernetes",
  package: ".",
  versionVariable: "k8s.io/component-base/version.gitVersion",
  links: ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"],
  duration: "some ten minutes on two cores",
};

const helm: GoProgram = {
  name: "helm",
  fileName: "helm",
  source: fileURLToPath(new URL("helm/", import.meta.url)),
  files: ["go.mod", "go.sum"],
  module: "helm.sh/helm/v4",
  package: "helm.sh/helm/v4/cmd/helm",
  versionVariable: "helm.sh/helm/v4/internal/version.version",
  links: [],
  duration: "two minutes on two cores",
};

/** The program's path. It has to be there: `npm test` builds it before it starts the tests that need it. */
export function kubernetesProgram(name: KubernetesProgram): string {
  return pathIn(kubernetes, name === "kubelet" || name === "kubectl" ? name : `kube-${name}`);
}

/** As `kubernetesProgram`. */
export function helmProgram(): string {
  return pathIn(helm, "helm");
}

/** Builds both unless this machine has them: some ten minutes of two processors, 100 MB to download. */
export async function buildKubernetes(say: Progress): Promise<void> {
  await buildGoProgram(kubernetes, say);
  await buildHelm(say);
}

/** Builds helm alone unless this machine has it. */
export async function buildHelm(say: Progress): Promise<void> {
  await buildGoProgram(helm, say);
}

function pathIn(program: GoProgram, file: string): string {
  const path = join(directoryOf(program), file);
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: npm test -- kube builds ${program.name} before it starts the tests`);
}
