// What a program of the bundle loads when it starts: what few need lies in files of its own.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const dist = join(import.meta.dirname, "../../dist");

/** What a daemon loads once it listens to signals; others at once. */
function programOf(name: string): string {
  return (
    readdirSync(dist).find((file) => file.startsWith(`${name}-program-`) && file.endsWith(".mjs")) ?? `${name}.mjs`
  );
}

/** The files that are loaded before the program does anything. */
function loadedAtStart(name: string, seen = new Set<string>()): Set<string> {
  if (seen.has(name)) return seen;
  seen.add(name);
  const text = readFileSync(join(dist, name), "utf8");
  for (const [, next = ""] of text.matchAll(/(?:from|import)\s?"\.\/([^"]+\.mjs)"/g)) loadedAtStart(next, seen);
  return seen;
}

const filesWith = (text: string) =>
  readdirSync(dist).filter((name) => name.endsWith(".mjs") && readFileSync(join(dist, name), "utf8").includes(text));

it.each([
  ["the X.509 library", "certificationRequestInfo", ["flanneld", "flannelctl", "flannel-store"]],
  ["prom-client", "application/openmetrics-text", ["flanneld", "flannelctl", "flannel-store"]],
  ["the dashboard", "sec-fetch-site", ["flanneld", "flannelctl", "flannel-store"]],
  ["AWS's client", "AmazonEC2", ["flanneld", "flannelctl", "flannel-store"]],
  ["Google's library", "GOOGLE_APPLICATION_CREDENTIALS", ["flanneld", "flannelctl", "flannel-store"]],
  ["Alibaba Cloud's module", "getRPCSignature", ["flanneld", "flannelctl", "flannel-store"]],
  ["Tencent Cloud's module", "tc3_request", ["flanneld", "flannelctl", "flannel-store"]],
  ["zod", "unrecognized_keys", ["flannelctl", "flannel-store"]],
  ["grpc-js", "grpc.initial_reconnect_backoff_ms", ["flannelctl", "flannel-store"]],
])("%s is loaded only when it is needed", (_, mark, programs) => {
  const files = filesWith(mark);
  expect(files.length).toBeGreaterThan(0);
  for (const program of programs) {
    const loaded = [...loadedAtStart(programOf(program))];
    expect(loaded.length).toBeGreaterThan(1);
    expect(
      loaded.filter((name) => files.includes(name)),
      program,
    ).toEqual([]);
  }
});

it.each(["flanneld", "flannel-store"])("%s listens to signals before it loads its program", (name) => {
  const first = [...loadedAtStart(`${name}.mjs`)];
  expect(first).not.toContain(programOf(name));
  const bytes = first.reduce((sum, file) => sum + readFileSync(join(dist, file)).length, 0);
  expect(bytes).toBeLessThan(10_000);
});
