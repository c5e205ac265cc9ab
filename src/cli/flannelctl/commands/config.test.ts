import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { flannelctl, TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { configCheckOutputSchema } from "../session/json-output.ts";

async function check(text: string, ...argv: string[]) {
  return await flannelctl(["config", "check", "-", ...argv], { input: text });
}

test("check works without a store, and shows the defaults it filled in", async () => {
  const { exitCode, stdout, stderr } = await check('{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}');
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout.split("\n")).toEqual([
    "the network configuration is valid",
    "  Network  10.5.0.0/16",
    "  subnets  /24, from 10.5.1.0 to 10.5.255.0",
    "  backend  host-gw",
    "  rules    iptables",
    "",
  ]);
});

test("check shows both families", async () => {
  const text = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
  const { stdout } = await check(text);
  expect(stdout).toContain("  IPv6Network   fd00:5::/48\n  IPv6 subnets  /64, from fd00:5:0:1:: to fd00:5:0:ffff::\n");
});

test.each([
  ["unknown key", '{"Network":"10.5.0.0/16","Subnetlne":24,"Backend":{"Type":"vxlan"}}', "did you mean SubnetLen?"],
  ["unknown backend key", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VIN":2}}', "did you mean Backend.VNI?"],
])("check fails on an %s, which an agent only warns about", async (_name, text, hint) => {
  const plain = await check(text);
  expect(plain.exitCode).toBe(1);
  expect(plain.stdout).toMatch(/^the network configuration is valid, with warnings\n {2}warning /);
  expect(plain.stdout).toContain(hint);
  const { exitCode, stdout, stderr } = await check(text, "--json");
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "" });
  const output = configCheckOutputSchema.parse(JSON.parse(stdout));
  expect(output).toMatchObject({ valid: true, errors: [], warnings: [{ message: expect.stringContaining(hint) }] });
});

test.each([
  ["", "not valid JSON"],
  ["[]", "network config"],
  ['{"Network":"10.5.0.0/29","Backend":{"Type":"vxlan"}}', "Network"],
  ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlna"}}', "did you mean vxlan?"],
  ['{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","Port":70000}}', "Backend.Port"],
])("check of %j says what is wrong", async (text, reason) => {
  const { exitCode, stdout } = await check(text, "--json");
  expect(exitCode).toBe(1);
  const output = configCheckOutputSchema.parse(JSON.parse(stdout));
  expect(output).toMatchObject({ valid: false, warnings: [], errors: [expect.stringContaining(reason)] });
  expect((await check(text)).stdout).toMatch(/^the network configuration is not valid\n {2}error /);
});

test("check reads a file, and says when it cannot", async () => {
  using directory = new TemporaryDirectory();
  writeFileSync(directory.file("net.json"), '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  expect((await flannelctl(["config", "check", directory.file("net.json")])).exitCode).toBe(0);
  const { exitCode, stdout, stderr } = await flannelctl(["config", "check", directory.path, "--json"]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: "FILE_FAILED" } });
});
