// Backends on this kernel, which may lack what they need: then the agent says so, and what can be done. test/kernel/long has
// kernels with ipip and with WireGuard.
import { statSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { EtcdServer } from "../etcd/etcd-server.ts";
import { AgentInProcess } from "../support/agent-in-process.ts";
import { TemporaryDirectory } from "../support/flannelctl.ts";
import { makeVethHost } from "../support/veth-host.ts";

let directory: TemporaryDirectory;
let etcd: EtcdServer;

beforeAll(async () => {
  directory = new TemporaryDirectory();
  etcd = await EtcdServer.start();
  await makeVethHost();
});

afterEach(() => {
  vi.unstubAllEnvs();
});

afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

/** Whether this kernel makes a device of these words. */
async function canMake(...words: readonly string[]): Promise<boolean> {
  return await box.ip("link", "add", "dev", "probe", ...words).then(
    () => box.ip("link", "delete", "dev", "probe").then(() => true),
    () => false,
  );
}

test("ipip: makes the device, or says that the kernel cannot and what to do about it", async () => {
  const hasIpip = await canMake("type", "ipip", "local", "127.0.0.1");
  const config = { Network: "10.5.0.0/16", Backend: { Type: "ipip" } };
  await etcd.control("put", "/coreos.com/network/config", JSON.stringify(config));
  await using agent = new AgentInProcess({ endpoints: etcd.endpoints, directory });
  if (hasIpip) {
    await agent.untilStatus("an agent that is ready", ({ state }) => state === "ready");
    expect(await box.ip("-d", "link", "show", "dev", "flannel.ipip")).toContain(
      "ipip any remote any local 192.168.50.11",
    );
    return;
  }
  const { state, findings, failures } = await agent.untilStatus(
    "an agent that cannot make its device",
    (status) =>
      status.failures.some(({ error }) => error.includes("modprobe ipip")) &&
      status.findings[0]?.name === "kernel-module-missing",
  );
  expect(state).toBe("notReady");
  expect(findings[0]).toMatchObject({
    severity: "error",
    evidence: expect.stringContaining("this kernel does not support ipip devices"),
    remedy: expect.stringMatching(/^modprobe ipip .*linux-modules-extra.*built without it.*another backend/),
  });
  const failure = failures.find(({ error }) => error.includes("modprobe ipip"));
  expect(failure).toMatchObject({
    object: expect.stringContaining("flannel.ipip"),
    error: expect.stringContaining("built without it"),
    scope: "own",
  });
});

test("wireguard: where there is neither the kernel's nor wireguard-go, names both cures", async () => {
  const hasWireguard = await canMake("type", "wireguard");
  const config = { Network: "10.5.0.0/16", Backend: { Type: "wireguard" } };
  await etcd.control("put", "/coreos.com/network/config", JSON.stringify(config));
  vi.stubEnv("WIREGUARD_KEY_FILE", directory.file("wgkey"));
  vi.stubEnv("PATH", "/usr/sbin");
  await using agent = new AgentInProcess({ endpoints: etcd.endpoints, directory });
  const { state, failures } = await agent.untilStatus("an agent that cannot make its device", (status) =>
    hasWireguard ? status.state === "ready" : status.failures.some(({ error }) => error.includes("wireguard-go")),
  );
  expect(statSync(directory.file("wgkey")).mode & 0o777).toBe(0o400);
  if (hasWireguard) return;
  expect(failures.map(({ error }) => error).join()).toMatch(/modprobe wireguard.*or install wireguard-go/);
  expect(state).toBe("notReady");
});
