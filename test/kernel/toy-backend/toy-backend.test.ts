// The seam of the backends: an agent of the product with one that is made of this folder alone. Real kernel, real etcd.
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { boxNamespace as box } from "../../../lab/namespace.ts";
import { until } from "../../../lab/wait.ts";
import { BackendRegistry, backends } from "../../../src/backend/registry.ts";
import { EtcdServer } from "../../etcd/etcd-server.ts";
import { AgentInProcess, type OneStatus } from "../../support/agent-in-process.ts";
import { TemporaryDirectory } from "../../support/flannelctl.ts";
import { makeVethHost } from "../../support/veth-host.ts";
import { badgeOf, isToyIdentity, refusal, toyModule } from "./toy-backend.ts";

const leases = "/coreos.com/network/subnets/";
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

function startAgent(): AgentInProcess {
  const withToy = new BackendRegistry([...backends.modules, toyModule]);
  // The peers are leases without hosts.
  return new AgentInProcess({ endpoints: etcd.endpoints, directory, backends: withToy, flags: ["--probe-interval=0"] });
}

async function putConfig(backend: Readonly<Record<string, unknown>> = {}): Promise<void> {
  // The peers' subnets are beyond those that are leased.
  const config = { Network: "10.5.0.0/16", SubnetMax: "10.5.99.0", Backend: { Type: "toy", ...backend } };
  await etcd.control("put", "/coreos.com/network/config", JSON.stringify(config));
}

async function putLease(key: string, publicIp: string, data: unknown): Promise<void> {
  const value = { PublicIP: publicIp, PublicIPv6: null, BackendType: "toy", BackendData: data };
  await etcd.control("put", leases + key, JSON.stringify(value));
}

async function readLease(key: string): Promise<unknown> {
  return JSON.parse(await etcd.control("get", "--print-value-only", leases + key));
}

/** What the state file holds of the toy. */
function rememberedSecret(): string {
  const [name = ""] = readdirSync(directory.file("state")).filter((file) => !file.includes(".peers."));
  const state = JSON.parse(readFileSync(directory.file(`state/${name}`), "utf8"));
  if (!isToyIdentity(state.identities.toy)) throw new Error("the state file has no identity of the toy");
  return state.identities.toy.secret;
}

test("a backend in one folder has keys, an identity that survives, and a runtime", async () => {
  await putConfig();
  await putLease("10.5.200.0-24", "192.168.50.12", { Badge: "another" });
  let key = "";
  let secret = "";
  {
    await using agent = startAgent();
    const { lease, dataPlane, peers } = await agent.untilStatus(
      "an agent that is ready",
      ({ state }) => state === "ready",
    );
    expect(dataPlane).toMatchObject({ features: { toy: "simple" }, peers: [{ key: "10.5.200.0-24" }] });
    expect(peers).toMatchObject({ desired: 1, programmed: 1 });
    expect(await box.ip("route", "show", "10.5.200.0/24")).toContain("via 192.168.50.12 dev eth0");
    key = lease?.key ?? "";
    secret = await until(rememberedSecret, { what: "the identity in the state file" });
    expect(await readLease(key)).toMatchObject({ BackendType: "toy", BackendData: badgeOf({ secret }) });

    await putLease("10.5.201.0-24", "192.168.50.13", { Badge: "third" });
    await agent.untilStatus("the second peer in the runtime's plan", (status) => status.dataPlane?.peers.length === 2);

    await putConfig({ OutOfOrder: true });
    const broken = await agent.untilStatus("the runtime's problem", ({ state }) => state !== "ready");
    expect(broken.reasons.map(({ message }) => message)).toEqual(["packets are not carried: the toy is out of order"]);
    expect(broken.dataPlane).toMatchObject({ problem: "the toy is out of order" });
    expect(broken.peers.programmed).toBe(0);
    await putConfig();
    await agent.untilStatus("an agent that is ready again", ({ state }) => state === "ready");
    expect(agent.log).not.toContain(secret);
  }

  // While it is away its address changes and its lease loses the store's id: only the badge tells whose it is.
  await putLease(key, "192.168.50.11", badgeOf({ secret }));
  await box.ip("addr", "del", "192.168.50.11/24", "dev", "eth0");
  await box.ip("addr", "add", "192.168.50.21/24", "dev", "eth0");
  await using agent = startAgent();
  const { lease } = await agent.untilStatus(
    "an agent that is ready after the restart",
    ({ state }) => state === "ready",
  );
  expect(lease).toMatchObject({ key, publicIp: "192.168.50.21" });
  expect(agent.log).toContain("reused the remembered lease");
  expect(await readLease(key)).toMatchObject({ PublicIP: "192.168.50.21", BackendData: badgeOf({ secret }) });
});

test("a plan that fails is made again, without another change", async () => {
  await putConfig();
  await using agent = startAgent();
  await agent.untilStatus("an agent that is ready", ({ state }) => state === "ready");
  refusal.isOn = true;
  try {
    await putLease("10.5.202.0-24", "192.168.50.14", { Badge: "fourth" });
    await until(() => agent.log.includes("the toy refuses the plan"), { what: "a plan that fails" });
  } finally {
    refusal.isOn = false;
  }
  const hasPeer = ({ dataPlane }: OneStatus) => dataPlane?.peers.some(({ key }) => key === "10.5.202.0-24") === true;
  await agent.untilStatus("the peer in the runtime's plan", hasPeer);
  expect(agent.log.split("the toy refuses the plan")).toHaveLength(2);
});
