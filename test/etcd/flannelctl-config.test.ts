import { writeFileSync } from "node:fs";
import { beforeEach, expect, test } from "vitest";
import {
  configCheckOutputSchema,
  configGetOutputSchema,
  configSetOutputSchema,
} from "../../src/cli/flannelctl/session/json-output.ts";
import { type CliWorld, flannelctl, TemporaryDirectory } from "../support/flannelctl.ts";
import { useEtcd } from "./use-etcd.ts";

const etcd = useEtcd();
const key = "/coreos.com/network/config";
const good = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';
const lease = '{"PublicIP":"192.0.2.11","PublicIPv6":null,"BackendType":"vxlan"}';

function ctl(argv: readonly string[], world: CliWorld = {}) {
  return flannelctl(argv, { ...world, env: { FLANNELD_ETCD_ENDPOINTS: etcd.endpoint } });
}

function set(text: string, ...argv: string[]) {
  return ctl(["config", "set", "-", ...argv], { input: text });
}

beforeEach(() => etcd.clear());

test("set stores a valid configuration, get gives the same text back", async () => {
  const stored = await set(`${good}\n`);
  expect(stored).toMatchObject({ exitCode: 0, stderr: "" });
  expect(stored.stdout).toBe(
    "stored:\n  Network  10.5.0.0/16\n  subnets  /24, from 10.5.1.0 to 10.5.255.0\n  backend  vxlan\n  rules    iptables\n",
  );
  expect(etcd.get(key)?.value).toBe(good);
  expect(await ctl(["config", "get"])).toEqual({ exitCode: 0, stdout: `${good}\n`, stderr: "" });
  const got = configGetOutputSchema.parse(JSON.parse((await ctl(["config", "get", "--json"])).stdout));
  expect(got).toEqual({ configText: good, revision: etcd.get(key)?.revision });
});

test("set of what is stored already writes nothing", async () => {
  await set(good);
  const { revision } = etcd.get(key)!;
  const { exitCode, stdout } = await set(good, "--json");
  expect(exitCode).toBe(0);
  expect(configSetOutputSchema.parse(JSON.parse(stdout))).toMatchObject({ changed: false, revision });
  expect(etcd.get(key)?.revision).toBe(revision);
});

test.each([
  ["not JSON", "{"],
  ["a network that is too small", '{"Network":"10.5.0.0/29","Backend":{"Type":"vxlan"}}'],
  ["an unknown backend", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlna"}}'],
  ["a backend key out of range", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":-1}}'],
  ["nothing", ""],
])("set refuses %s and stores nothing", async (_name, text) => {
  const { exitCode, stdout, stderr } = await set(text, "--json");
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: "CONFIG_INVALID" } });
  expect(etcd.get(key)).toBeUndefined();
});

test("set warns about a typo and stores all the same", async () => {
  const { exitCode, stderr } = await set('{"Network":"10.5.0.0/16","SubnetLne":25,"Backend":{"Type":"vxlan"}}');
  expect(exitCode).toBe(0);
  expect(stderr).toMatch(/^flannelctl: warning: "SubnetLne".*did you mean SubnetLen\?/);
});

test("set reads a file; a file that is not there is exit 1", async () => {
  using directory = new TemporaryDirectory();
  writeFileSync(directory.file("net.json"), good);
  expect((await ctl(["config", "set", directory.file("net.json")])).exitCode).toBe(0);
  expect(etcd.get(key)?.value).toBe(good);
  const { exitCode, stderr } = await ctl(["config", "set", directory.file("none.json")]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("none.json");
});

test("a new Network is refused while leases exist, other changes are not, --force does it", async () => {
  await set(good);
  etcd.ctl("put", "/coreos.com/network/subnets/10.5.34.0-24", lease);
  const elsewhere = good.replace("10.5.", "10.6.");
  const refused = await set(elsewhere);
  expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
  expect(refused.stderr).toMatch(
    /will not change Network from 10\.5\.0\.0\/16 to 10\.6\.0\.0\/16 while 1 lease exists.*--force/,
  );
  expect(etcd.get(key)?.value).toBe(good);
  const port = good.replace('"vxlan"', '"vxlan","Port":4789');
  expect((await set(port)).exitCode).toBe(0);
  expect((await set(elsewhere, "--force")).exitCode).toBe(0);
  expect(etcd.get(key)?.value).toBe(elsewhere);
});

test("with no readable configuration stored, existing leases must lie in the new Network", async () => {
  etcd.ctl("put", key, "garbage");
  etcd.ctl("put", "/coreos.com/network/subnets/10.5.34.0-24", lease);
  expect((await set(good.replace("10.5.", "10.6."))).exitCode).toBe(1);
  const only6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
  expect((await set(only6)).stderr).toContain("will not leave Network out while");
  expect((await set(good)).exitCode).toBe(0);
});

test("adding IPv6 to a running network is allowed, taking IPv4 away is not", async () => {
  await set(good);
  etcd.ctl("put", "/coreos.com/network/subnets/10.5.34.0-24", lease);
  const dual = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
  const { exitCode: added, stderr: told } = await set(dual);
  expect(added).toBe(0);
  expect(told).toMatch(/warning: 1 host gets an IPv6 subnet when the agent restarts and keeps its IPv4 subnet/);
  expect((await set(good, "--force")).stderr).toBe("");
  const smaller = await set(good.replace('"Backend"', '"SubnetLen":25,"Backend"'), "--json");
  expect(configSetOutputSchema.parse(JSON.parse(smaller.stdout)).warnings).toEqual([
    {
      path: "Network",
      message: "1 host gets another IPv4 subnet when the agent restarts: re-create the containers there",
    },
  ]);
  await set(dual);
  const only6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}';
  const { exitCode, stderr } = await set(only6);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/will not take Network 10\.5\.0\.0\/16 away while .* every host would lose its IPv4 subnet/);
  const only4 = await set(good);
  expect(only4.exitCode).toBe(1);
  expect(only4.stderr).toMatch(/will not take IPv6Network fd00:5::\/48 away while .* would lose its IPv6 subnet when/);
});

test("check judges the stored configuration; without one it says how to write it", async () => {
  const missing = await ctl(["config", "check"]);
  expect(missing).toMatchObject({ exitCode: 1, stdout: "" });
  expect(missing.stderr).toContain("flannelctl config set");
  await set(good);
  const { exitCode, stdout } = await ctl(["config", "check", "--json"]);
  expect(exitCode).toBe(0);
  expect(configCheckOutputSchema.parse(JSON.parse(stdout))).toMatchObject({ valid: true, errors: [], warnings: [] });
});

test("nothing that anybody wrote into the store drives the terminal; JSON stays the same JSON", async () => {
  const hostile = "\u001b[2J\u0007\u0085\u009b31m\u202e";
  // ESC and BEL may not stand in JSON, the others may.
  const inJson = "\u0085\u009b31m\u202e";
  const config = `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"},"note ${inJson}":"${inJson}"}`;
  const evil = `{"PublicIP":"192.0.2.11","BackendType":"v${inJson}","BackendData":{"${inJson}":"${inJson}"}}`;
  etcd.ctl("put", "/coreos.com/network/subnets/10.5.34.0-24", evil);
  etcd.ctl("put", `/coreos.com/network/subnets/${hostile}`, hostile);
  const lines = ["config get", "config check", "lease list", "lease show 10.5.34.0-24", "store export"];
  for (const [text, isJson] of [
    [config, true],
    [`${config}${hostile}\r`, false],
  ] as const) {
    etcd.ctl("put", key, text);
    for (const line of lines) {
      for (const argv of [line.split(" "), [...line.split(" "), "--json"]]) {
        const { stdout, stderr } = await ctl(argv, { isTty: true });
        // biome-ignore lint/suspicious/noControlCharactersInRegex: colours go, and nothing else of the kind may be there
        const shown = `${stdout}${stderr}`.replaceAll(/\u001b\[(?:1|22|3[1239])m/g, "");
        expect(shown, argv.join(" ")).not.toMatch(/(?!\n)\p{Cc}|\p{Bidi_Control}/u);
      }
    }
    const { stdout } = await ctl(["config", "get"]);
    if (isJson) expect(JSON.parse(stdout)).toEqual(JSON.parse(text));
    else expect(stdout).toContain("\\u001b[2J");
    expect(JSON.parse((await ctl(["config", "get", "--json"])).stdout)).toMatchObject({ configText: text });
  }
});
