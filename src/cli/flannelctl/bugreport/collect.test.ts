// A report keeps its bounds whatever its parts are: size packed and unpacked, time for each, and what is missing is listed.
import { randomBytes } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { collectReport } from "./collect.ts";
import { Redactor } from "./redact.ts";

const MEGABYTE = 1_024 * 1_024;

test("parts that are too large are cut, one that hangs is left out, and both are said", async () => {
  // Nothing that gzip makes much smaller.
  const lines = Array.from({ length: 20_000 }, () => randomBytes(75).toString("base64")).join("\n");
  const large = Array.from({ length: 4 }, (_, at) => ({
    file: `large-${at}`,
    command: "x",
    gather: () => ({ text: lines }),
  }));
  const hangs = { file: "hangs", command: "y", limitMs: 10, gather: () => new Promise<never>(() => undefined) };
  const small = { file: "small", command: "z", gather: () => ({ text: "all of it\n" }) };
  const { archive, index, unpackedBytes } = await collectReport([small, ...large, hangs], new Redactor(), "report");

  expect(archive.length).toBeLessThanOrEqual(5 * MEGABYTE);
  expect(unpackedBytes).toBeLessThanOrEqual(20 * MEGABYTE);
  expect(gunzipSync(archive).length).toBeLessThanOrEqual(20 * MEGABYTE);
  const of = (file: string) => index.find((entry) => entry.file === file);
  expect(of("small")).toMatchObject({ bytes: 10 });
  expect(of("small")?.cutBytes).toBeUndefined();
  for (const { file } of large) expect((of(file)?.bytes ?? 0) + (of(file)?.cutBytes ?? 0)).toBe(lines.length);
  expect(large.some(({ file }) => of(file)?.cutBytes !== undefined)).toBe(true);
  expect(of("hangs")).toMatchObject({ bytes: 0, failure: expect.stringMatching(/^no answer within/) });
});
