// Which firewall tools a host has, with programs of the test's own.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { findRuleTools } from "./find-tools.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-tools-"));
  vi.stubEnv("PATH", `${directory}:${process.env["PATH"]}`);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

function program(name: string, script: string): void {
  const path = join(directory, name);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

it("fails, and ends nobody's process, when ipset fails long before iptables has said its version", async () => {
  const pidFile = join(directory, "pid");
  // Too much to be a listing: it is killed, and only then do the others answer.
  program("ipset", `echo $$ >'${pidFile}.new'; mv '${pidFile}.new' '${pidFile}'; exec cat /dev/zero`);
  const untilKilled = `until [ -s '${pidFile}' ]; do sleep 0.02; done; while kill -0 "$(cat '${pidFile}')"; do sleep 0.02; done 2>&-`;
  for (const name of ["iptables", "iptables-nft", "iptables-legacy"]) {
    program(name, `${untilKilled}; echo 'iptables v1.8.9 (nf_tables)'`);
  }
  await expect(findRuleTools(false)).rejects.toMatchObject({ code: "FIREWALL_REJECTED", retryable: true });
});
