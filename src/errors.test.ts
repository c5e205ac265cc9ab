import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { errorCodes } from "./errors.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const texts = readdirSync(here, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "errors.ts")
  .map((name) => readFileSync(`${here}${name}`, "utf8"));

describe("the registry of error codes", () => {
  it.each(Object.entries(errorCodes))("%s is used in the source and explained in sentences", (code, definition) => {
    expect(texts.some((text) => text.includes(`"${code}"`))).toBe(true);
    expect(definition.meaning).toMatch(/^\S.*\.$/);
    expect(definition.remedy).toMatch(/^\S.*\.$/);
  });
});
