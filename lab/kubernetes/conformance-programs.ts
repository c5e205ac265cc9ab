// The Kubernetes project's own tests, for the lab: their program, agnhost, which their pods run, and CoreDNS, by whose
// names they go. Built from their Go modules when they are missing.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../command.ts";
import { buildGoProgram, directoryOf, type GoProgram, type Progress } from "../go-program.ts";

const source = fileURLToPath(new URL("conformance/", import.meta.url));

const programs: GoProgram = {
  name: "the conformance tests of Kubernetes",
  fileName: "e2e.test",
  source,
  files: ["go.mod", "go.sum", "main.go", "tools.go"],
  module: "k8s.io/kubernetes",
  package: "k8s.io/kubernetes/test/e2e",
  isTest: true,
  versionVariable: "k8s.io/component-base/version.gitVersion",
  links: [],
  besides: [
    { fileName: "agnhost", package: "k8s.io/kubernetes/test/images/agnhost" },
    { fileName: "coredns", package: "." },
  ],
  duration: "some ten minutes on two cores",
};

export type ConformanceProgram = "e2e.test" | "agnhost" | "coredns";

/** The program's path. It has to be there: `npm test` builds it before it starts the tests that need it. */
export function conformanceProgram(name: ConformanceProgram): string {
  const path = join(directoryOf(programs), name);
  if (existsSync(path)) return path;
  throw new Error(`${path} is missing: npm test -- kube/long/conformance builds it before it starts the tests`);
}

/** Builds them unless this machine has them: as much work as Kubernetes itself. */
export function buildConformancePrograms(say: Progress): Promise<void> {
  return buildGoProgram(programs, say);
}

/** Where the sources of that package of the module are. */
export async function sourceOfPackage(name: string): Promise<string> {
  const settings = { GOFLAGS: "-mod=readonly", GOWORK: "off" };
  return (await run(["go", "-C", source, "list", "-f", "{{.Dir}}", name], { env: settings })).trim();
}
