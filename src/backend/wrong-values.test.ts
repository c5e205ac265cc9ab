// Wrong values of each key, as the pages of the backends (docs/wireguard.md, docs/cloud.md and others) list them, are refused in
// the documented words.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { backends } from "./registry.ts";

/** What a backend needs in any case. */
const required: Readonly<Record<string, object>> = {
  wireguard: {},
  ipip: {},
  ipsec: { PSK: "s".repeat(96) },
  extension: {},
  "aws-vpc": {},
  gce: {},
  "ali-vpc": {},
  "tencent-vpc": {},
};
/** They share a page, each with a section of its own. */
const clouds = ["aws-vpc", "gce", "ali-vpc", "tencent-vpc"];

function pageOf(type: string): string {
  if (!clouds.includes(type)) return readFileSync(`docs/${type}.md`, "utf8");
  const sections = readFileSync("docs/cloud.md", "utf8").split(/^## /m);
  return sections.find((section) => section.startsWith(`${type}\n`)) ?? expect.fail(`no section on ${type}`);
}

describe.each(Object.keys(required))("%s", (type) => {
  const rows = [...pageOf(type).matchAll(/^\| `("\w+": .*)` \| `(Backend\..*)` \|$/gm)].map(
    ([, value = "", message = ""]) => ({ value, message }),
  );

  test("each key is listed", () => {
    const listed = new Set(rows.map(({ value }) => /^"(\w+)"/.exec(value)?.[1]));
    expect(listed).toEqual(new Set(backends.find(type)?.keys.map(({ name }) => name)));
  });

  test.each(rows)("$value", ({ value, message }) => {
    const backend = { Type: type, ...required[type], ...(JSON.parse(`{${value}}`) as object) };
    const written = JSON.stringify({ Network: "10.5.0.0/16", Backend: backend });
    const create = () => backends.create(backends.parseConfig(written).config);
    expect(create).toThrow(expect.objectContaining({ message: `network config: ${message}` }));
  });
});
