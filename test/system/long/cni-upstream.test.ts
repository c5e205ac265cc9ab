// Our CNI plugin `flannel` beside upstream's: the same calls, and what the delegate gets, what is kept and what the runtime reads.
// Where the two differ it was decided (docs/cni.md), and both are written down here.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { upstreamPlugin } from "../../../lab/runtime/flannel-plugin.ts";
import { pluginConfig } from "../../support/cni-config.ts";
import { type PluginAnswer, type PluginCall, PluginWorld } from "../../support/cni-plugin-call.ts";
import { propertyRuns } from "../../support/fuzz.ts";

const script = [fileURLToPath(new URL("../../../cni/flannel", import.meta.url))];
const upstream = [upstreamPlugin()];
const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const ipv4Env = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
const ipv6Env = "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:ab12::1/64\n";

let world: PluginWorld;

beforeEach(() => {
  world = new PluginWorld(mkdtempSync(join(tmpdir(), "cni-")));
  writeFileSync(world.subnetFile, ipv4Env);
  world.answer(resultIn("1.0.0"));
});
afterEach(() => rmSync(world.directory, { recursive: true }));

const base = () => ({
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "flannel",
  subnetFile: world.subnetFile,
  dataDir: world.dataDirectory,
});

/** What a delegate answers in that version. */
function resultIn(cniVersion: string): string {
  if (/^0\.[12]/.test(cniVersion)) return JSON.stringify({ cniVersion, ip4: { ip: "10.1.17.2/24" }, dns: {} });
  const address = { address: "10.1.17.2/24", gateway: "10.1.17.1", interface: 0 };
  const ip = cniVersion.startsWith("0") ? { version: "4", ...address } : address;
  return JSON.stringify({ cniVersion, interfaces: [{ name: "eth0" }], ips: [ip], dns: {} });
}

/** The calls in a row by one plugin, which starts with nothing. */
function answersOf(plugin: readonly string[], calls: readonly PluginCall[]): readonly PluginAnswer[] {
  world.clear();
  return calls
    .map((call) => world.call(plugin, call))
    .map((answer) => ({ ...answer, output: withoutEmpty(answer.output) }));
}

/** An error of ours names its version and has empty details; Go's writer leaves an empty `dns` out. */
function withoutEmpty(output: unknown): unknown {
  if (typeof output !== "object" || output === null) return output;
  const isEmpty = (value: unknown) => value === "" || JSON.stringify(value) === "{}";
  const left = Object.entries(output).filter(
    ([key, value]) => !isEmpty(value) && !("code" in output && key === "cniVersion"),
  );
  return Object.fromEntries(left);
}

function expectAlike(...calls: readonly PluginCall[]): readonly PluginAnswer[] {
  const ours = answersOf(script, calls);
  expect(ours).toEqual(answersOf(upstream, calls));
  return ours;
}

const add = (more: object = {}, env: Readonly<Record<string, string>> = {}): PluginCall => ({
  command: "ADD",
  input: { ...base(), ...more },
  env,
});

describe.each(versions)("version %s", (cniVersion) => {
  it("attaches and detaches alike", () => {
    world.answer(resultIn(cniVersion));
    const input = { ...base(), cniVersion };
    const [added, removed, again, version] = expectAlike(
      { command: "ADD", input },
      { command: "DEL", input },
      { command: "DEL", input },
      { command: "VERSION", input: { cniVersion } },
    );
    expect(added).toMatchObject({ exitCode: 0, delegates: [{ name: "bridge" }] });
    expect(removed).toMatchObject({
      exitCode: 0,
      scratch: ["700"],
      delegates: [{ input: added?.delegates[0]?.input }],
    });
    expect(again).toMatchObject({ exitCode: 0, delegates: [] });
    expect(version?.output).toEqual({ cniVersion: "1.1.0", supportedVersions: versions });
  });

  it("refuses alike what it does not have", () => {
    const commands = ["CHECK", "GC", "STATUS"].slice(versions.indexOf(cniVersion) < versions.indexOf("0.4.0") ? 0 : 1);
    const isNewest = cniVersion === "1.1.0";
    const calls = commands.map((command): PluginCall => ({ command, input: { ...base(), cniVersion } }));
    const answers = expectAlike(...(isNewest ? calls.slice(1) : calls));
    for (const { exitCode } of answers) expect(exitCode).toBe(isNewest ? 0 : 1);
  });
});

it("undoes what the other has done, and reads its scratch file", () => {
  for (const [first, second] of [
    [script, upstream],
    [upstream, script],
  ] as const) {
    world.clear();
    const added = world.call(first, add({ delegate: { type: "ptp", hairpin: "<&>" }, runtimeConfig: { a: [1] } }));
    const removed = world.call(second, { command: "DEL", input: base() });
    expect(removed).toMatchObject({ exitCode: 0, scratch: ["700"] });
    expect(removed.delegates).toMatchObject([{ name: "ptp", input: added.delegates[0]?.input }]);
  }
});

it("hands the same bytes to the delegate, whatever the configuration", { timeout: 1_500_000 }, () => {
  const property = fc.property(pluginConfig, (given) => {
    expect(expectAlike(add(given))[0]?.exitCode).toBe(0);
  });
  fc.assert(property, propertyRuns(1_000));
});

describe("alike", () => {
  it.each<object>([
    { cniVersion: undefined },
    { name: "other" },
    { delegate: null },
    { delegate: { type: "ptp" } },
    { delegate: { mtu: 9, ipMasq: 1, isGateway: false, cniVersion: "9" } },
    { ipam: null },
    { ipam: { type: "x", ranges: [1] } },
    { ipam: { routes: null } },
    {
      ipam: {
        routes: [{ dst: "10.9.9.9/8", gw: "10.1.17.9", mtu: 1, advmss: 2, priority: 3, table: 4, scope: 5, x: 1 }],
      },
    },
    { runtimeConfig: null },
    { runtimeConfig: { portMappings: [{ hostPort: 80 }] } },
  ])("the configuration %j", (more) => {
    expect(expectAlike(add(more))[0]?.exitCode).toBe(0);
  });

  it.each([
    `${ipv4Env}${ipv6Env}`,
    `${ipv6Env}FLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n`,
    `X=1\n\n#x\n${ipv4Env}`,
    ipv4Env.trimEnd(),
    ipv4Env.replaceAll("\n", "\r\n"),
    ipv4Env.replace("true", "yes"),
    ipv4Env.replace("10.1.0.0/16", "10.1.2.3/16"),
  ])("the subnet file %j", (text) => {
    writeFileSync(world.subnetFile, text);
    expect(expectAlike(add())[0]?.exitCode).toBe(0);
  });

  it.each(["", "FLANNEL_MTU=1450\n", "FLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_IPMASQ=true\n"])(
    "what the subnet file %j lacks",
    (text) => {
      writeFileSync(world.subnetFile, text);
      expect(expectAlike(add())[0]?.output).toMatchObject({ code: 999, msg: expect.stringContaining(" is missing ") });
    },
  );

  it.each([
    ["1472", "x"],
    ["1472", "-1"],
    ["1472", "99999999999"],
    ["/24", "/33"],
    ["10.1.17.1", "10.1.17.256"],
    ["=10.1.0.0", "= 10.1.0.0"],
  ])("the code for a subnet file with %s instead of %s", (from, to) => {
    writeFileSync(world.subnetFile, ipv4Env.replace(from, to));
    expectSameCode(add(), 999);
  });

  it.each<[string, PluginCall["env"], number]>([
    ...["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"].map((name) => ["", { [name]: "" }, 4] as const),
    ["", { CNI_CONTAINERID: "", CNI_IFNAME: "" }, 4],
    ["", { CNI_CONTAINERID: "../x" }, 4],
  ] as [string, PluginCall["env"], number][])("a refusal, word for word: %s %j", (_, env, code) => {
    for (const command of ["ADD", "CHECK", "STATUS", "GC", ...(env?.["CNI_NETNS"] === "" ? [] : ["DEL"])]) {
      const isAsked = ["ADD", "CHECK", "DEL"].includes(command) || env?.["CNI_PATH"] === "";
      if (!isAsked) continue;
      const [answer] = expectAlike({ command, input: { ...base(), cniVersion: "1.1.0" }, ...(env && { env }) });
      expect(answer?.output).toMatchObject({ code });
    }
  });

  it.each<object>([{ delegate: { name: "x" } }, { delegate: { ipam: {} } }, { delegate: { type: 7 } }])(
    "the refusal of %j, word for word",
    (more) => {
      expect(expectAlike(add(more))[0]?.output).toMatchObject({ code: 999 });
    },
  );

  it.each([
    ["", 6],
    ["{", 6],
    ["[]", 6],
    ['{"name":"a"} x', 6],
    ['{"cniVersion":3,"name":"a"}', 6],
    ["{}", 7],
    ['{"name":""}', 7],
    ['{"name":"a b"}', 7],
    ['{"cniVersion":"2.0.0","name":"a"}', 1],
  ])("the code for %j", (input, code) => expectSameCode({ command: "ADD", input }, code));

  it.each(["a/b", "a:b", "a b", ".", "..", "a".repeat(16)])("the code for an interface %j", (name) =>
    expectSameCode(add({}, { CNI_IFNAME: name }), 4),
  );

  it("what a delegate says that fails, at ADD and at DEL", () => {
    world.answer('{"code":11,"msg":"busy","details":"d"}', 1);
    const [added, ...removed] = expectAlike(
      add(),
      { command: "DEL", input: base() },
      { command: "DEL", input: base() },
    );
    expect(added).toMatchObject({ exitCode: 1, output: { code: 11, msg: "busy", details: "d" } });
    for (const { output, delegates } of removed) expect([output, delegates]).toMatchObject([{ code: 11 }, [{}]]);
  });
});

function expectSameCode(call: PluginCall, code: number): void {
  for (const plugin of [upstream, script]) {
    const [answer] = answersOf(plugin, [call]);
    expect(answer).toMatchObject({ exitCode: 1, output: { code }, delegates: [] });
  }
}

describe("differs as decided", () => {
  const both = (...calls: readonly PluginCall[]) =>
    [script, upstream].map((plugin) => answersOf(plugin, calls).at(-1)) as [PluginAnswer, PluginAnswer];

  it("CHECK and GC reach the delegate", () => {
    const added = add({ cniVersion: "1.1.0" });
    for (const command of ["CHECK", "GC"]) {
      const [ours, theirs] = both(added, { command, input: { ...base(), cniVersion: "1.1.0" } });
      expect([ours.delegates.length, theirs.delegates.length]).toEqual([1, 0]);
    }
  });

  it("without a subnet file the runtime is to try again later", () => {
    rmSync(world.subnetFile);
    const codes = both(add()).map(({ output }) => (output as { code: number }).code);
    expect(codes).toEqual([11, 999]);
  });

  it("a further interface has a scratch file of its own", () => {
    const names = both(add(), add({}, { CNI_IFNAME: "net1" })).map(({ scratch }) => scratch.length - 1);
    expect(names).toEqual([2, 1]);
  });

  it("a delegate that is missing leaves no scratch file", () => {
    const [ours, theirs] = both(add({ delegate: { type: "absent" } }));
    expect([ours.output, theirs.output]).toMatchObject([{ code: 999 }, { code: 999 }]);
    expect([ours.scratch, theirs.scratch.length]).toEqual([[], 2]);
  });

  it("keys are read as they are written, and paths have to be absolute", () => {
    const renamed = JSON.stringify(base()).replace('"name"', '"Name"');
    expect(both({ command: "ADD", input: renamed })).toMatchObject([{ output: { code: 7 } }, { exitCode: 0 }]);
    expect(both(add({ subnetFile: "relative" }))[0].output).toMatchObject({ code: 7 });
  });
});
