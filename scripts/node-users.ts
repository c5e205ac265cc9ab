// Which tests depend on the version of Node: those of code that imports one of Node's modules, directly or through what it
// imports. Pure code (docs/architecture.md: the import rule) computes the same everywhere.
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** Not the `import type` kind: that is gone when the program runs. */
const importPattern = /^(?:import|export) (?!type )(?:[^;"]*? from )?"([^"]+)";/gms;

/** The product's packages that stand on Node's own modules or on its binary interface. */
const nodePackages = /^(node:|koffi|@grpc\/|pino|commander|@peculiar\/)/;

/** Of `testFiles`, paths below `root`, those whose code under test reaches a module of Node. */
export function selectNodeUsers(root: string, testFiles: readonly string[]): readonly string[] {
  const known = new Map<string, boolean>();
  const usesNode = (file: string): boolean => {
    const before = known.get(file);
    if (before !== undefined) return before;
    known.set(file, false); // for a circle, which the import rule forbids anyway
    const answer = importsOf(root, file).some((name) =>
      name.startsWith(".") ? usesNode(resolve(file, name)) : nodePackages.test(name),
    );
    known.set(file, answer);
    return answer;
  };
  const codeUnderTest = (test: string) =>
    importsOf(root, test)
      .filter((name) => name.startsWith("."))
      .map((name) => resolve(test, name))
      .filter((file) => !file.startsWith("test/") && !file.startsWith("lab/"));
  return testFiles.filter((test) => codeUnderTest(test).some(usesNode));
}

function resolve(from: string, name: string): string {
  return normalize(join(dirname(from), name));
}

function importsOf(root: string, file: string): readonly string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(importPattern)].map(([, name = ""]) => name);
}
