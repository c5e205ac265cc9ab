import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { selectNodeUsers } from "./node-users.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "node-users-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function write(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

test("tests of code that reaches a module of Node are chosen, pure ones are not", () => {
  write({
    "src/pure.ts": 'import type { Stats } from "node:fs";\nimport { z } from "zod";\nexport const a = 1;\n',
    "src/direct.ts": 'import {\n  readFile,\n} from "node:fs/promises";\n',
    "src/above/indirect.ts": 'import { b } from "../direct.ts";\nexport * from "../pure.ts";\n',
    "src/again.ts": 'export { b } from "./above/indirect.ts";\n',
    "test/support/fixture.ts": 'import "node:fs";\n',
    "src/pure.test.ts":
      'import { mkdtempSync } from "node:fs";\nimport "../test/support/fixture.ts";\nimport { a } from "./pure.ts";\n',
    "src/direct.test.ts": 'import { b } from "./direct.ts";\n',
    "src/again.test.ts": 'import { b } from "./again.ts";\n',
  });
  const tests = ["src/again.test.ts", "src/direct.test.ts", "src/pure.test.ts"];
  expect(selectNodeUsers(root, tests)).toEqual(["src/again.test.ts", "src/direct.test.ts"]);
});
