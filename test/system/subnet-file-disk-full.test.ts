// A full disk must leave the old subnet.env as it was, and the next try must work once there is room.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";

const directory = mkdtempSync(join(tmpdir(), "disk-full-"));
afterAll(() => rmSync(directory, { recursive: true }));

const script = `
  import { readdirSync, readFileSync } from "node:fs";
  import { describeError } from ${JSON.stringify(new URL("../../src/errors.ts", import.meta.url).href)};
  import { writeFileAtomically } from ${JSON.stringify(new URL("../../src/sys/files.ts", import.meta.url).href)};
  const path = process.argv[1] + "/subnet.env";
  await writeFileAtomically(path, "old");
  const error = await writeFileAtomically(path, "new".repeat(5000)).catch((thrown) => thrown);
  const afterFailure = readFileSync(path, "utf8");
  await writeFileAtomically(path, "new");
  const result = [error.code, error.retryable, describeError(error).includes("ENOSPC"), afterFailure];
  console.log(JSON.stringify([...result, readFileSync(path, "utf8"), readdirSync(process.argv[1])]));
`;

it("survives a full disk", () => {
  const mounted = 'mount -t tmpfs -o size=8k none "$1" && exec "$2" --input-type=module-typescript --eval "$3" "$1"';
  const argv = ["--mount", "sh", "-c", mounted, "sh", directory, process.execPath, script];
  const output = execFileSync("unshare", argv, { encoding: "utf8" });
  expect(JSON.parse(output)).toEqual(["FILE_FAILED", true, true, "old", "new", ["subnet.env"]]);
});
