// The ipip backend on this kernel, which may lack it: then the agent says so, and what can be done. test/kernel/long/ipip-kernel
// has a kernel with ipip.
import { afterAll, beforeAll, expect, test } from "vitest";
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

afterAll(async () => {
  await etcd[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

test("makes the device, or says that the kernel cannot and what to do about it", async () => {
  const hasIpip = await box.ip("link", "add", "dev", "probe", "type", "ipip", "local", "127.0.0.1").then(
    () => box.ip("link", "delete", "dev", "probe").then(() => true),
    () => false,
  );
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
