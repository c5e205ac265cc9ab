// The CNI plugin `flannel` with its real delegates, bridge and host-local: containers one by one and twenty at once, and
// nothing left of them.
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";

const plugin = fileURLToPath(new URL("../../cni/flannel", import.meta.url));
const directory = "/run/cni-test";
const addresses = `${directory}/networks/cbr0`;

const config = {
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "flannel",
  subnetFile: `${directory}/subnet.env`,
  dataDir: `${directory}/flannel`,
  ipam: { dataDir: `${directory}/networks` },
  delegate: { hairpinMode: true, isDefaultGateway: true },
};

/** Made by the plugin for container `id`, in a network namespace of that name. */
async function call(command: string, id: string, more: object = {}): Promise<string> {
  const env = { ...process.env, ...variables(command, id) };
  return box.run([plugin], { input: JSON.stringify({ ...config, ...more }), env });
}

function variables(command: string, id: string) {
  return {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: `/run/netns/${id}`,
    CNI_IFNAME: "eth0",
    CNI_PATH: "/usr/lib/cni",
  };
}

const subnetEnv =
  "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7.1/24\nFLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:7::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

/** What host-local holds as in use. */
function inUse(): string[] {
  return readdirSync(addresses).filter((name) => /^[\d.:_a-f]+$/.test(name) && !name.startsWith("last"));
}

it("attaches containers, checks them, and leaves nothing", async () => {
  mkdirSync(directory, { recursive: true });
  writeFileSync(config.subnetFile, subnetEnv);
  const ids = Array.from({ length: 20 }, (_, index) => `c${index}`);
  await box.ipBatch(ids.map((id) => `netns add ${id}`));
  const results = await Promise.all(ids.map((id) => call("ADD", id)));
  const given = results.map((text) => (JSON.parse(text).ips as { address: string }[]).map(({ address }) => address));
  expect(new Set(given.flat()).size).toBe(40);
  expect(inUse()).toHaveLength(40);
  for (const [index, id] of ids.slice(0, 3).entries()) {
    const shown = await box.run(["ip", "-n", id, "-o", "addr", "show", "dev", "eth0"]);
    for (const address of given[index] ?? []) expect(shown).toContain(address);
    expect(await box.run(["ip", "-n", id, "link", "show", "dev", "eth0"])).toContain("mtu 1450");
    expect(await box.run(["ip", "netns", "exec", id, "ping", "-n", "-c", "1", "-W", "5", "10.5.7.1"])).toContain(
      "1 received",
    );
    // Without routes: bridge of Debian's version looks for them without the gateway that it gave them itself.
    const prevResult = { ...JSON.parse(results[index] ?? ""), routes: [] };
    await call("CHECK", id, { prevResult });
    await box.run(["ip", "-n", id, "addr", "flush", "dev", "eth0"]);
    await expect(call("CHECK", id, { prevResult })).rejects.toThrow(/"code": \d+/);
  }
  await Promise.all(ids.map((id) => call("DEL", id)));
  await Promise.all(ids.map((id) => call("DEL", id))); // runtimes repeat it
  expect(inUse()).toEqual([]);
  expect(readdirSync(config.dataDir)).toEqual([]);
  expect(await box.run(["ip", "-br", "link", "show", "type", "veth"])).toBe("");
  await box.ipBatch([...ids.map((id) => `netns del ${id}`), "link del cni0"]);
});

describe("when something goes wrong", () => {
  const ids = Array.from({ length: 10 }, (_, index) => `f${index}`);

  beforeAll(async () => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(config.subnetFile, subnetEnv);
    await box.ipBatch(ids.map((id) => `netns add ${id}`));
  });

  afterAll(async () => {
    await box.ipBatch([...ids.map((id) => `netns del ${id}`), "link del cni0"]);
  });

  afterEach(async () => {
    for (const id of ids) await call("DEL", id);
    expect(inUse()).toEqual([]);
    expect(readdirSync(config.dataDir)).toEqual([]);
    expect(await box.run(["ip", "-br", "link", "show", "type", "veth"])).toBe("");
  });

  it("two ADDs of one container at once: one of them wins", async () => {
    const results = await Promise.allSettled([call("ADD", "f0"), call("ADD", "f0")]);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  it("killed at any moment: the next DEL finds everything", async () => {
    for (const [index, id] of ids.entries()) {
      const child = box.spawn([plugin], {
        stdio: ["pipe", "ignore", "ignore"],
        env: { ...process.env, ...variables("ADD", id) },
      });
      const ended = new Promise((resolve) => child.once("close", resolve));
      child.stdin?.on("error", () => undefined).end(JSON.stringify(config));
      // At 0, 3, 6, … ms: before the delegate, in it, in its IPAM, after it.
      setTimeout(() => child.kill("SIGKILL"), index * 3);
      await ended;
    }
    const isQuiet = async () => (await box.tryRun(["pgrep", "-x", "host-local|bridge"])).exitCode === 1;
    await until(isQuiet, { what: "the delegates that were left alone to end" });
  });

  it("a full disk: nothing is attached, and the error says so", async () => {
    mkdirSync(config.dataDir, { recursive: true });
    await box.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", config.dataDir]);
    try {
      writeFileSync(`${config.dataDir}/filler`, "x".repeat(4096));
      const refused = await box.tryRun([plugin], {
        input: JSON.stringify(config),
        env: { ...process.env, ...variables("ADD", "f1") },
      });
      expect(JSON.parse(refused.stdout)).toMatchObject({ code: 5, msg: expect.stringContaining("disk full") });
      expect(readdirSync(config.dataDir)).toEqual(["filler"]);
    } finally {
      await box.run(["umount", config.dataDir]);
    }
  });

  it.each([
    ["half a subnet file", "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUB", 999],
    ["an empty one", "", 999],
    ["one with a broken line", subnetEnv.replace("10.5.7.1/24", "10.5.7.1/2"), undefined],
  ])("%s", async (_, text, code) => {
    writeFileSync(config.subnetFile, text);
    try {
      const { exitCode, stdout } = await box.tryRun([plugin], {
        input: JSON.stringify(config),
        env: { ...process.env, ...variables("ADD", "f2") },
      });
      expect(exitCode).toBe(1);
      if (code !== undefined) expect(JSON.parse(stdout).code).toBe(code);
    } finally {
      writeFileSync(config.subnetFile, subnetEnv);
    }
  });

  it("directories that cannot be read: nothing is attached, and nothing is taken for detached", async () => {
    const rights = "-dac_override,-dac_read_search";
    const limited = ["setpriv", `--bounding-set=${rights}`, `--inh-caps=${rights}`, plugin];
    const answer = async (command: string, id: string, more: object = {}) => {
      const input = JSON.stringify({ ...config, ...more });
      const env = { ...process.env, ...variables(command, id) };
      const { exitCode, stdout } = await box.tryRun(limited, { input, env });
      return exitCode === 0 ? { code: 0 } : JSON.parse(stdout);
    };
    const denied = { code: 5, msg: expect.stringContaining("Permission denied") };
    const newest = { cniVersion: "1.1.0" };
    const collect = { ...newest, "cni.dev/valid-attachments": [] };
    await call("ADD", "f4");
    const held = inUse();
    chmodSync(config.dataDir, 0);
    expect(await answer("ADD", "f5")).toMatchObject(denied);
    expect(await answer("DEL", "f4")).toMatchObject(denied);
    expect(await answer("GC", "", collect)).toMatchObject(denied);
    expect(await answer("CHECK", "f4", { prevResult: {} })).toMatchObject(denied);
    chmodSync(config.dataDir, 0o700);
    chmodSync(config.subnetFile, 0);
    expect(await answer("ADD", "f5")).toMatchObject({ ...denied, code: 11 });
    expect(await answer("STATUS", "", newest)).toMatchObject({ ...denied, code: 50 });
    chmodSync(config.subnetFile, 0o644);
    // host-local's own: the delegate cannot give an address, nor free one.
    chmodSync(addresses, 0);
    expect((await answer("ADD", "f5")).code).not.toBe(0);
    expect((await answer("DEL", "f4")).code).not.toBe(0);
    chmodSync(addresses, 0o755);
    expect(inUse()).toEqual(held);
    expect((await answer("DEL", "f4")).code).toBe(0);
  });

  it("a directory that is none, and a delegate that is missing", async () => {
    const refusalOf = async (more: object) => {
      const { stdout } = await box.tryRun([plugin], {
        input: JSON.stringify({ ...config, ...more }),
        env: { ...process.env, ...variables("ADD", "f3") },
      });
      return JSON.parse(stdout);
    };
    expect(await refusalOf({ dataDir: `${config.subnetFile}/x` })).toMatchObject({ code: 5 });
    expect(await refusalOf({ delegate: { type: "nothing" } })).toMatchObject({ code: 999 });
  });
});
