// The CNI plugin `flannel`, called as runtimes call it, in every shell that hosts have as /bin/sh; what it hands to its
// delegate against an oracle of its own, and what hostile text does to it: nothing.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pluginConfig } from "../support/cni-config.ts";
import { pluginEnvironment } from "../support/cni-plugin-call.ts";
import { propertyRuns } from "../support/fuzz.ts";

const plugin = fileURLToPath(new URL("../../cni/flannel", import.meta.url));
const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const shells: readonly string[] = ["dash", "bash --posix", "busybox sh"];

let directory: string;
let shell: readonly string[] = ["sh"];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cni-"));
  mkdirSync(join(directory, "bin"));
  // Says what it reads, and its command; as a delegate that fails it says so as the specification wants it.
  addDelegate("bridge", "cat");
  addDelegate("failing", `cat >/dev/null; echo '{"code":11,"msg":"busy"}'; exit 1`);
  writeEnv({
    FLANNEL_NETWORK: "10.1.0.0/16",
    FLANNEL_SUBNET: "10.1.17.1/24",
    FLANNEL_MTU: "1472",
    FLANNEL_IPMASQ: "true",
  });
});
afterEach(() => {
  shell = ["sh"];
  rmSync(directory, { recursive: true });
});

function addDelegate(name: string, script: string): void {
  const file = join(directory, "bin", name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

const envFile = () => join(directory, "subnet.env");
const scratch = (name = "c1") => join(directory, "data", name);

function writeEnv(values: Readonly<Record<string, string>>): void {
  writeFileSync(
    envFile(),
    Object.entries(values)
      .map(([key, value]) => `${key}=${value}\n`)
      .join(""),
  );
}

const base = () => ({ name: "cni-flannel", type: "flannel", subnetFile: envFile(), dataDir: join(directory, "data") });

/** `input`: a text, or what becomes one. `env` changes what a runtime sets. */
function call(command: string, input: unknown, env: Readonly<Record<string, string>> = {}) {
  const [program = "sh", ...options] = shell;
  const { status, stdout, stderr } = spawnSync(program, [...options, plugin], {
    input: typeof input === "string" ? input : JSON.stringify(input),
    encoding: "utf8",
    env: { ...pluginEnvironment(command, join(directory, "bin")), ...env },
  });
  return { status, stdout, stderr };
}

function errorOf(result: { readonly status: number | null; readonly stdout: string }): { code: number; msg: string } {
  expect(result.status).toBe(1);
  return JSON.parse(result.stdout);
}

// --- the oracle ----------------------------------------------------------------------------------------------------------

/** As Go's encoding/json writes it: keys sorted, nothing in between, `<`, `>` and `&` escaped. */
function goText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goText).join(",")}]`;
  if (typeof value !== "object" || value === null) {
    return JSON.stringify(value).replace(
      /[<>&\u2028\u2029]/g,
      (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  }
  const record = value as Readonly<Record<string, unknown>>;
  return `{${Object.keys(record)
    .sort()
    .map((key) => `${goText(key)}:${goText(record[key])}`)
    .join(",")}}`;
}

interface Config {
  readonly name: string;
  readonly cniVersion?: string;
  readonly delegate?: Readonly<Record<string, unknown>>;
  readonly ipam?: Readonly<Record<string, unknown>>;
  readonly runtimeConfig?: unknown;
}

function expectedDelegate({ name, cniVersion, delegate = {}, ipam = {}, runtimeConfig }: Config): string {
  const type = delegate["type"] ?? "bridge";
  return goText({
    ipMasq: false,
    mtu: 1472,
    ...(type === "bridge" && { isGateway: true }),
    ...delegate,
    ...(runtimeConfig !== undefined && { runtimeConfig }),
    ...(cniVersion !== undefined && { cniVersion }),
    name,
    type,
    ipam: { type: "host-local", ...ipam, ranges: [[{ subnet: "10.1.17.0/24" }]], routes: [{ dst: "10.1.0.0/16" }] },
  });
}

/** The same JSON, written another way: blanks, and characters as \u escapes. */
const rewritten = fc.record({ indent: fc.constantFrom(0, 1, "\t"), isEscaped: fc.boolean() });

describe.each(shells)("in %s", (name) => {
  beforeEach(() => {
    shell = name.split(" ");
  });

  // Each run starts a shell: 1,500 of them on a busy machine are many minutes, and nothing here waits.
  it("hands to the delegate what flannel's plugin hands to it, whatever the configuration", {
    timeout: 1_500_000,
  }, () => {
    const property = fc.property(pluginConfig, rewritten, (given, { indent, isEscaped }) => {
      const text = JSON.stringify({ ...base(), ...given }, undefined, indent);
      const asEscape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
      const input = isEscaped ? text.replace(/[^\0-\x7f]/g, asEscape) : text;
      const { status, stdout } = call("ADD", input);
      expect({ status, stdout }).toEqual({ status: 0, stdout: expectedDelegate(given as Config) });
      expect(readFileSync(scratch(), "utf8")).toBe(stdout);
    });
    fc.assert(property, propertyRuns(1_500));
  });

  it("does what runtimes ask for, and leaves nothing", () => {
    const added = call("ADD", base());
    expect(added.stdout).toBe(
      '{"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.1.17.0/24"}]],"routes":[{"dst":"10.1.0.0/16"}],"type":"host-local"},"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}',
    );
    const checked = call("CHECK", { ...base(), cniVersion: "1.0.0", prevResult: { ips: [] } });
    expect(JSON.parse(checked.stdout)).toEqual({ ...JSON.parse(added.stdout), prevResult: { ips: [] } });
    expect(call("DEL", base())).toMatchObject({ status: 0, stdout: added.stdout });
    expect(readdirSync(join(directory, "data"))).toEqual([]);
    expect(call("DEL", base())).toMatchObject({ status: 0, stdout: "" });
  });

  it.each(versions)("knows version %s for each command that it has", (cniVersion) => {
    const known = `{"cniVersion":"1.1.0","supportedVersions":["${versions.join('","')}"]}\n`;
    expect(call("VERSION", { cniVersion })).toEqual({ status: 0, stdout: known, stderr: "" });
    const given = { ...base(), cniVersion };
    const added = call("ADD", given);
    expect(added).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(added.stdout).cniVersion).toBe(cniVersion);
    const since = (first: string) => versions.indexOf(cniVersion) >= versions.indexOf(first);
    const refusal = { status: 1, stdout: expect.stringMatching(`^{"cniVersion":"${cniVersion}","code":1,`) };
    const answer = (isKnown: boolean) => (isKnown ? { status: 0, stderr: "" } : refusal);
    expect(call("CHECK", { ...given, prevResult: { ips: [] } })).toMatchObject(answer(since("0.4.0")));
    expect(call("STATUS", given)).toMatchObject(answer(since("1.1.0")));
    const alive = [{ containerID: "c1", ifname: "eth0" }];
    expect(call("GC", { ...given, "cni.dev/valid-attachments": alive })).toMatchObject(answer(since("1.1.0")));
    expect(call("DEL", given)).toEqual({ status: 0, stdout: added.stdout, stderr: "" });
    expect(readdirSync(join(directory, "data"))).toEqual([]);
  });

  it("never runs a word of what it reads", () => {
    const file = join(directory, "ran");
    const words = [
      `$(touch ${file})`,
      `\`touch ${file}\``,
      `"; touch ${file}; "`,
      `'; touch ${file}; '`,
      "*",
      "$IFS",
      "%s%n\\0",
    ];
    for (const word of words) {
      const given = { ...base(), delegate: { word, [word]: { deep: [word] } }, args: { word } };
      expect(JSON.parse(call("ADD", given).stdout)).toMatchObject({ word, [word]: { deep: [word] } });
      expect(errorOf(call("ADD", { ...base(), name: word })).code).toBe(7);
      expect(errorOf(call("ADD", { ...base(), delegate: { type: word } })).code).toBe(999);
      expect(errorOf(call("ADD", base(), { CNI_CONTAINERID: word })).code).toBe(4);
      expect(errorOf(call("ADD", base(), { CNI_IFNAME: `a ${word}` })).code).toBe(4);
      writeFileSync(
        envFile(),
        `FLANNEL_NETWORK=${word}\nFLANNEL_SUBNET=${word}\nFLANNEL_MTU=${word}\nFLANNEL_IPMASQ=${word}\n`,
      );
      expect(errorOf(call("ADD", base())).code).toBe(999);
      writeEnv({
        FLANNEL_NETWORK: "10.1.0.0/16",
        FLANNEL_SUBNET: "10.1.17.1/24",
        FLANNEL_MTU: "1472",
        FLANNEL_IPMASQ: "true",
      });
    }
    expect(existsSync(file)).toBe(false);
  });

  it.each([
    ["", 6],
    ["{", 6],
    ["[]", 6],
    ['{"name":"a"} x', 6],
    ['{"name":"a\nb"}', 6],
    ['{"name":"a","n":01}', 6],
    ['{"name":"a","n":1.}', 6],
    ['{"name":"a","s":"\\x"}', 6],
    ['{"name":"a",}', 6],
    [`{"name":"a","d":${"[".repeat(100_000)}`, 6],
    [`{"name":"${"a".repeat(1_000_000)}"}`, 6],
    ["{}", 7],
    ['{"name":""}', 7],
    ['{"cniVersion":"2.0.0","name":"a"}', 1],
    ['{"cniVersion":3,"name":"a"}', 6],
  ])("refuses bad input, number %#", (text, code) => {
    expect(errorOf(call("ADD", text)).code).toBe(code);
    expect(existsSync(join(directory, "data"))).toBe(false);
  });
});

it("refuses what is not the plugin's to be given", () => {
  expect(errorOf(call("ADD", { ...base(), delegate: { name: "x" } })).msg).toContain("'name' field");
  expect(errorOf(call("ADD", { ...base(), delegate: { ipam: {} } })).msg).toContain("'ipam' field");
  expect(errorOf(call("ADD", { ...base(), delegate: { type: 7 } })).msg).toContain("(string) 'type'");
  expect(errorOf(call("ADD", { ...base(), delegate: { type: "absent" } })).msg).toContain(
    'failed to find plugin "absent"',
  );
  for (const name of ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]) {
    expect(errorOf(call("ADD", base(), { [name]: "" }))).toMatchObject({ code: 4, msg: expect.stringContaining(name) });
  }
  expect(errorOf(call("ADD", base(), { CNI_NETNS: "/proc/self/ns/net" })).code).toBe(8);
  expect(errorOf(call("CHECK", { ...base(), cniVersion: "0.3.1" })).code).toBe(1);
  expect(errorOf(call("GC", { ...base(), cniVersion: "1.0.0" })).code).toBe(1);
  expect(errorOf(call("BREW", base())).code).toBe(4);
});

it("says what subnet.env lacks, and to try again while there is none", () => {
  writeEnv({ FLANNEL_MTU: "1450" });
  expect(errorOf(call("ADD", base())).msg).toBe(
    `${envFile()} is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_IPMASQ`,
  );
  rmSync(envFile());
  expect(errorOf(call("ADD", base()))).toMatchObject({ code: 11, msg: expect.stringContaining("no subnet yet") });
  expect(errorOf(call("STATUS", { ...base(), cniVersion: "1.1.0" })).code).toBe(50);
});

it("holds containers back while flanneld says so, but not those that go, nor for what an earlier program said", () => {
  const hold = `${envFile()}.not-ready`;
  const config = { ...base(), cniVersion: "1.1.0" };
  expect(call("STATUS", config)).toMatchObject({ status: 0, stdout: "" });
  expect(call("ADD", config).status).toBe(0);
  writeFileSync(hold, 'no lease yet: "etcd" $(touch /tmp/x) says no\n');
  const msg = 'flanneld is not ready on this host: no lease yet: "etcd" $(touch /tmp/x) says no';
  expect(errorOf(call("STATUS", config))).toMatchObject({ code: 50, msg });
  expect(errorOf(call("ADD", config, { CNI_CONTAINERID: "c2" }))).toMatchObject({ code: 11, msg });
  expect(readdirSync(join(directory, "data"))).toEqual(["c1"]);
  const attachments = [{ containerID: "c1", ifname: "eth0" }];
  expect(call("CHECK", { ...config, prevResult: { ips: [] } }).status).toBe(0);
  expect(call("GC", { ...config, "cni.dev/valid-attachments": attachments }).status).toBe(0);
  expect(call("DEL", config).status).toBe(0);
  // Another flanneld, which knows no such file, has written the subnet file since.
  utimesSync(hold, 1, 1);
  expect(call("ADD", config).status).toBe(0);
  rmSync(hold);
  mkdirSync(hold);
  expect(errorOf(call("ADD", config))).toMatchObject({ code: 11, msg: expect.stringContaining(`see ${hold}`) });
});

it("writes every network, each family and the routes that were given, as flannel's plugin does", () => {
  writeEnv({
    FLANNEL_NETWORK: "10.1.0.0/16,192.168.0.0/16",
    FLANNEL_SUBNET: "10.1.17.129/25",
    FLANNEL_IPV6_NETWORK: "fc00::/48",
    FLANNEL_IPV6_SUBNET: "fc00:0:0:ab12::1/64",
    FLANNEL_MTU: "1430",
    FLANNEL_IPMASQ: "false",
  });
  const routes = [
    { gw: "10.1.17.1", dst: "0.0.0.0/0", mtu: 1280, junk: 1 },
    { dst: "172.16.0.0/12", table: 0 },
  ];
  const { ipam, ipMasq } = JSON.parse(call("ADD", { ...base(), ipam: { routes } }).stdout);
  expect(ipMasq).toBe(true);
  expect(ipam.ranges).toEqual([[{ subnet: "10.1.17.128/25" }], [{ subnet: "fc00:0:0:ab12::/64" }]]);
  expect(JSON.stringify(ipam.routes)).toBe(
    '[{"dst":"0.0.0.0/0","gw":"10.1.17.1","mtu":1280},{"dst":"172.16.0.0/12"},{"dst":"10.1.0.0/16"},{"dst":"192.168.0.0/16"},{"dst":"fc00::/48"}]',
  );
});

it("keeps what a failing delegate could not undo, and works without subnet.env then", () => {
  call("ADD", { ...base(), delegate: { type: "failing" } });
  rmSync(envFile());
  expect(call("DEL", base())).toMatchObject({ status: 1, stdout: '{"code":11,"msg":"busy"}\n' });
  expect(existsSync(scratch())).toBe(true);
  addDelegate("failing", "cat >/dev/null");
  expect(call("DEL", base())).toMatchObject({ status: 0 });
  expect(existsSync(scratch())).toBe(false);
});

it("keeps two interfaces of a container apart, and undoes what flannel's plugin did", () => {
  call("ADD", { ...base(), name: "one" });
  call("ADD", { ...base(), name: "two" }, { CNI_IFNAME: "net1" });
  expect(readdirSync(join(directory, "data")).sort()).toEqual(["c1", "c1@net1"]);
  expect(JSON.parse(call("DEL", { ...base(), name: "one" }).stdout).name).toBe("one");
  expect(JSON.parse(call("DEL", { ...base(), name: "two" }, { CNI_IFNAME: "net1" }).stdout).name).toBe("two");
  // flannel's plugin has one name for all interfaces.
  writeFileSync(scratch(), '{"name":"cbr0","type":"bridge"}');
  expect(JSON.parse(call("DEL", { ...base(), name: "cbr0" }, { CNI_IFNAME: "net1" }).stdout).type).toBe("bridge");
  writeFileSync(scratch(), "half a fi");
  expect(call("DEL", base())).toMatchObject({
    status: 0,
    stdout: "",
    stderr: expect.stringContaining("holds no network"),
  });
});

it("detaches containers that are gone, of its own network only, and lets the delegate collect the rest", () => {
  const log = join(directory, "calls");
  addDelegate(
    "bridge",
    `printf '%s %s %s [%s] ' $CNI_COMMAND "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_NETNS" >>${log}
cat >>${log}; echo >>${log}; [ "$CNI_CONTAINERID" != stuck ] || [ $CNI_COMMAND = ADD ]`,
  );
  const files = () => readdirSync(join(directory, "data")).sort();
  for (const id of ["gone", "here", "stuck"]) call("ADD", base(), { CNI_CONTAINERID: id });
  call("ADD", base(), { CNI_CONTAINERID: "gone", CNI_IFNAME: "net1" });
  call("ADD", { ...base(), name: "other" }, { CNI_CONTAINERID: "others" });
  const kept = readFileSync(scratch("gone"), "utf8");
  writeFileSync(log, "");
  const valid = { "cni.dev/valid-attachments": [{ containerID: "here", ifname: "eth0" }] };
  const config = { ...base(), cniVersion: "1.1.0" };
  // What could not be detached stays for the next time, and is told.
  expect(call("GC", { ...config, ...valid }, { CNI_CONTAINERID: "" }).status).toBe(1);
  expect(files()).toEqual(["here", "others", "stuck"]);
  const [first, second, third, last, ...none] = readFileSync(log, "utf8").trimEnd().split("\n");
  expect([first, second]).toEqual([`DEL gone eth0 [] ${kept}`, `DEL gone net1 [] ${kept}`]);
  expect(third).toContain("DEL stuck eth0 []");
  expect(JSON.parse(last?.replace(/^GC.*?\] /, "") ?? "")).toMatchObject({ type: "bridge", ...valid });
  expect(none).toEqual([]);
  // Before the agent has a subnet after a boot, and with the list as the specification named it first.
  rmSync(envFile());
  addDelegate("bridge", "cat");
  expect(call("GC", { ...config, "cni.dev/attachments": [] }).status).toBe(0);
  expect(files()).toEqual(["others"]);
  expect(call("GC", config).status).toBe(0);
  expect(files()).toEqual(["others"]);
});

it("notes ADDs that it refused for the agent, where there is one, and never without end", () => {
  const notes = `${envFile()}.cni-errors`;
  const refuse = (command = "ADD") => call(command, { ...base(), cniVersion: "1.1.0", delegate: { name: "x" } }).status;
  expect(refuse()).toBe(1);
  expect(existsSync(notes)).toBe(false);
  writeFileSync(notes, "");
  expect(call("ADD", base()).status).toBe(0);
  expect([refuse(), call("CHECK", { ...base(), cniVersion: "0.1.0" }).status]).toEqual([1, 1]);
  expect(readFileSync(notes, "utf8")).toBe("999\n");
  writeFileSync(notes, "11\n".repeat(200));
  expect(refuse()).toBe(1);
  expect(readFileSync(notes, "utf8")).toBe("11\n".repeat(200));
});
