// The manual pages of the packages, formatted as `man` does it.
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { daemonPage, flannelctlPage } from "../../packaging/man-pages.ts";
import { flanneldFlags } from "../../src/cli/flags/flanneld-flag-table.ts";
import { buildProgram } from "../../src/cli/flannelctl/program.ts";

test("man formats the pages without a warning, and they name every flag and command", () => {
  const pages = {
    flanneld: daemonPage("flanneld", "leases a subnet", flanneldFlags, "1.2.3"),
    flannelctl: flannelctlPage(
      buildProgram({ writeOut: () => undefined }, "1.2.3", () => Promise.resolve()),
      "1.2.3",
    ),
  };
  const shown = (page: string) => {
    const argv = ["-mandoc", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=400n"];
    return execFileSync("groff", argv, { input: page, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });
  };
  const agent = shown(pages.flanneld).replaceAll("‐", "-");
  for (const { name } of flanneldFlags) expect(agent).toContain(`${name.length === 1 ? "-" : "--"}${name}`);
  expect(shown(pages.flannelctl)).toMatch(/lease reserve <subnet>/);
});
