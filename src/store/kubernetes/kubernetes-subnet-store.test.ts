import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { until } from "../../../lab/wait.ts";
import { type FakeNode, KubeApiServer } from "../../../test/support/kube-api-server.ts";
import { backends } from "../../backend/registry.ts";
import { parseAddress } from "../../ip/address.ts";
import { usualWatchTimings } from "../../kube-api/watch-objects.ts";
import type { LeaseAttributes, LeaseChange } from "../../lease/lease.ts";
import { LeaseTable } from "../../lease/lease-table.ts";
import { type Logger, silentLogger } from "../../telemetry/logger.ts";
import type { KubernetesStoreOptions } from "../store-options.ts";
import type { LeaseRequest } from "../subnet-store.ts";
import { KubernetesAdministration } from "./kubernetes-administration.ts";
import { KubernetesSubnetStore } from "./kubernetes-subnet-store.ts";
import { NetConfigFile } from "./net-config-file.ts";

const directory = mkdtempSync(join(tmpdir(), "flannel-kube-store-"));
afterAll(() => rmSync(directory, { recursive: true }));
const signal = new AbortController().signal;
const prefix = "flannel.alpha.coreos.com/";
const timings = { ...usualWatchTimings, backOffFirstMs: 5, backOffMaxMs: 20 };

function options(server: KubeApiServer, more: Partial<KubernetesStoreOptions> = {}): KubernetesStoreOptions {
  return {
    type: "kubernetes",
    apiUrl: server.url,
    annotationPrefix: "flannel.alpha.coreos.com",
    netConfigFile: join(directory, "net-conf.json"),
    setsNodeCondition: true,
    nodeName: "n1",
    ...more,
  };
}

const open = (server: KubeApiServer, more?: Partial<KubernetesStoreOptions>, logger: Logger = silentLogger) =>
  KubernetesSubnetStore.open(options(server, more), { env: {}, version: "test", logger, timings });

function withSubnet(...podCIDRs: string[]): (node: FakeNode) => void {
  return (node) => {
    node.spec = { podCIDR: podCIDRs[0] ?? "", podCIDRs };
  };
}

function managed(subnet: string, publicIp: string): (node: FakeNode) => void {
  return (node) => {
    withSubnet(subnet)(node);
    node.metadata.annotations = {
      [`${prefix}kube-subnet-manager`]: "true",
      [`${prefix}backend-type`]: "host-gw",
      [`${prefix}backend-data`]: "null",
      [`${prefix}public-ip`]: publicIp,
    };
  };
}

const attributes: LeaseAttributes = { publicIp: parseAddress("192.0.2.1"), backendType: "host-gw" };

function request(config: object = {}, announced = attributes): LeaseRequest {
  const text = JSON.stringify({ Network: "10.244.0.0/16", Backend: { Type: "host-gw" }, ...config });
  return { config: backends.withGivenSubnets().parseConfig(text).config, attributes: announced };
}

const annotation = (server: KubeApiServer, name: string) => server.node("n1")?.metadata.annotations?.[prefix + name];
const patches = (server: KubeApiServer) => server.requests.filter(({ method }) => method === "PATCH");

/** Follows the leases of a store as an agent does. */
class Following implements AsyncDisposable {
  readonly table = new LeaseTable();
  readonly changes: LeaseChange[] = [];
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  isOwnDeleted = false;

  constructor(store: KubernetesSubnetStore) {
    this.table.setOwnKey("n1");
    this.#done = this.#run(store);
  }

  async #run(store: KubernetesSubnetStore): Promise<void> {
    for await (const change of store.watch(this.#stop.signal)) {
      this.changes.push(change);
      if (this.table.apply(change).ownDeletedAt !== undefined) this.isOwnDeleted = true;
    }
  }

  get peers(): string[] {
    return this.table.peers().map(({ key, subnet, ipv6Subnet }) => `${key} ${subnet ?? ""} ${ipv6Subnet ?? ""}`.trim());
  }

  async hasPeers(...peers: string[]): Promise<void> {
    const what = `the peers ${peers.join(", ")}`;
    await until(() => this.table.hasSnapshot && JSON.stringify(this.peers) === JSON.stringify(peers), { what });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

describe("our own Node", () => {
  it("its podCIDR is our subnet, and only what differs is written", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server);
    const { lease, outcome } = await store.acquire(request(), signal);
    expect({ outcome, ...lease }).toMatchObject({
      outcome: "allocated",
      key: "n1",
      subnet: "10.244.1.0/24",
      attributes,
    });
    expect(patches(server).map(({ path, headers, body }) => [path, headers["content-type"], body])).toEqual([
      [
        "/api/v1/nodes/n1/status",
        "application/strategic-merge-patch+json",
        {
          metadata: {
            annotations: {
              [`${prefix}kube-subnet-manager`]: "true",
              [`${prefix}backend-type`]: "host-gw",
              [`${prefix}backend-data`]: "null",
              [`${prefix}public-ip`]: "192.0.2.1",
            },
          },
        },
      ],
    ]);
    expect((await store.acquire(request(), signal)).outcome).toBe("reused");
    expect(patches(server)).toHaveLength(1);
    await store.renew(lease, { ...attributes, publicIp: parseAddress("192.0.2.2") }, signal);
    expect(patches(server)[1]?.body).toEqual({ metadata: { annotations: { [`${prefix}public-ip`]: "192.0.2.2" } } });
  });

  it("is found through the pod", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    const { nodeName: _, ...others } = options(server, { pod: { namespace: "kube-flannel", name: "p" } });
    await using store = await KubernetesSubnetStore.open(others, { env: {}, version: "t", logger: silentLogger });
    await expect(store.acquire(request(), signal)).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      retryable: true,
    });
    server.pods.set("kube-flannel/p", "n1");
    expect((await store.acquire(request(), signal)).lease.key).toBe("n1");
    const nothing = { ...others, apiUrl: server.url };
    const { pod: __, ...without } = nothing;
    await expect(KubernetesSubnetStore.open(without, { env: {}, version: "t", logger: silentLogger })).rejects.toThrow(
      "set the environment variable NODE_NAME",
    );
  });

  it.each<[string, string[] | undefined, object, string]>([
    ["there is no Node", undefined, {}, "there is no Node n1"],
    ["it has no podCIDR", [], {}, "Node n1 has no podCIDR yet"],
    [
      "its podCIDR is of the other family",
      ["fd00::/64"],
      {},
      "has podCIDR fd00::/64, and the network needs one of IPv4",
    ],
    ["its podCIDR is elsewhere", ["10.245.1.0/24"], {}, "is not inside Network 10.244.0.0/16"],
  ])("waits while %s", async (_, podCidrs, config, message) => {
    await using server = await KubeApiServer.start();
    if (podCidrs !== undefined) server.putNode("n1", withSubnet(...podCidrs));
    await using store = await open(server);
    await expect(store.acquire(request(config), signal)).rejects.toMatchObject({
      ...{ code: "SUBNET_UNASSIGNED", retryable: true },
      message: expect.stringContaining(message),
    });
  });

  it("of a dual-stack network serves the family it has, and says what is missing", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    const said: string[] = [];
    await using store = await open(server, {}, { ...silentLogger, warn: (event) => void said.push(event) });
    const dual = request({ EnableIPv6: true, IPv6Network: "fd00:244::/56" });
    expect((await store.acquire(dual, signal)).lease).toMatchObject({ subnet: "10.244.1.0/24" });
    expect(said).toEqual(["node.family-missing"]);
  });

  it.each([
    ["get", "nodes"],
    ["patch", "nodes/status"],
  ])("names the verb %s on %s when it is missing", async (verb, resource) => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    server.refusals = [{ verb, resource, status: 403 }];
    await using store = await open(server);
    await expect(store.acquire(request(), signal)).rejects.toMatchObject({
      code: "STORE_UNAUTHORIZED",
      message: expect.stringContaining(`allow the verb "${verb}" on "${resource}" in the ClusterRole of flannel`),
    });
  });

  it("is restored when our annotations are removed; the lease stands", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server);
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers();
    server.putNode("n1", (node) => {
      node.metadata.annotations = {};
    });
    await until(() => annotation(server, "public-ip") === "192.0.2.1", { what: "the annotations again" });
    expect(following.isOwnDeleted).toBe(false);
    expect(store.host.problem()).toBeUndefined();
  });

  it("publishes an overwrite as long as it is there", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server);
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers();
    const overwrite = (value: string | undefined) =>
      server.putNode("n1", (node) => {
        const { [`${prefix}public-ip-overwrite`]: _, ...others } = node.metadata.annotations ?? {};
        node.metadata.annotations = {
          ...others,
          ...(value !== undefined && { [`${prefix}public-ip-overwrite`]: value }),
        };
      });
    overwrite("203.0.113.9");
    await until(() => annotation(server, "public-ip") === "203.0.113.9", { what: "the overwrite" });
    overwrite(undefined);
    await until(() => annotation(server, "public-ip") === "192.0.2.1", { what: "our own address" });
    expect(store.host.problem()).toBeUndefined();
  });

  it("demands addresses by annotations, also again", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server);
    expect(await store.host.read(signal)).toEqual({ addresses: {} });
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers();
    const changed = store.host.untilChanged({}, signal);
    server.putNode("n1", (node) => {
      node.metadata.annotations = { ...node.metadata.annotations, [`${prefix}node-public-ip`]: "192.0.2.77" };
    });
    await changed;
    const { lease } = await store.acquire(request(), signal);
    expect(store.host.remembered(lease)).toEqual({ publicIp: "192.0.2.77" });
    expect(await store.host.read(signal)).toMatchObject({
      announced: { publicIp: "192.0.2.1", backendType: "host-gw" },
    });
  });

  it("that was deleted and recreated ends the lease, and gives another one", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server);
    const { lease } = await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers();
    server.deleteNode("n1");
    server.putNode("n1", withSubnet("10.244.9.0/24"));
    await until(() => following.isOwnDeleted, { what: "the end of the lease" });
    await expect(store.renew(lease, attributes, signal)).rejects.toMatchObject({ code: "LEASE_LOST" });
    const again = await store.acquire(request(), signal);
    expect(again.lease).toMatchObject({ key: "n1", subnet: "10.244.9.0/24" });
    expect(again.lease.revision.isAfter(lease.revision)).toBe(true);
    expect(annotation(server, "public-ip")).toBe("192.0.2.1");
  });
});

describe("the peers", () => {
  it("come, change in any way, lose their annotations and go", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    server.putNode("n2", managed("10.244.2.0/24", "192.0.2.2"));
    server.putNode("n3", withSubnet("10.244.3.0/24"));
    await using store = await open(server);
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers("n2 10.244.2.0/24");
    server.putNode("n3", managed("10.244.3.0/24", "192.0.2.3"));
    await following.hasPeers("n2 10.244.2.0/24", "n3 10.244.3.0/24");
    server.deleteNode("n3");
    server.putNode("n3", managed("10.244.7.0/24", "192.0.2.3"));
    await following.hasPeers("n2 10.244.2.0/24", "n3 10.244.7.0/24");
    server.putNode("n2", (node) => {
      node.metadata.annotations = {};
    });
    await following.hasPeers("n3 10.244.7.0/24");
    server.deleteNode("n2");
    server.deleteNode("n3");
    await following.hasPeers();
  });

  it("a change of either family reaches us", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    server.putNode("n2", (node) => {
      managed("10.244.2.0/24", "192.0.2.2")(node);
      withSubnet("10.244.2.0/24", "fd00:244:0:2::/64")(node);
    });
    await using store = await open(server);
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers("n2 10.244.2.0/24");
    server.putNode("n2", (node) => {
      node.metadata.annotations = { ...node.metadata.annotations, [`${prefix}public-ipv6`]: "2001:db8::2" };
    });
    await following.hasPeers("n2 10.244.2.0/24 fd00:244:0:2::/64");
    server.putNode("n2", (node) => {
      node.metadata.annotations = { ...node.metadata.annotations, [`${prefix}public-ipv6`]: "2001:db8::3" };
    });
    await until(() => following.table.peers()[0]?.attributes.publicIpv6 === "2001:db8::3", {
      what: "the IPv6 address",
    });
  });

  it("what happens while the watch is away is made up for, whatever is still known", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    server.putNode("n2", managed("10.244.2.0/24", "192.0.2.2"));
    await using store = await open(server);
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers("n2 10.244.2.0/24");
    server.isFrozen = true;
    server.cutConnections();
    server.deleteNode("n2");
    server.putNode("n3", managed("10.244.3.0/24", "192.0.2.3"));
    server.compact();
    server.isFrozen = false;
    await following.hasPeers("n3 10.244.3.0/24");
    expect(following.isOwnDeleted).toBe(false);
  });

  it("are no news when their Nodes are written as every few minutes", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    server.putNode("n2", managed("10.244.2.0/24", "192.0.2.2"));
    await using store = await open(server);
    await store.acquire(request(), signal);
    await using following = new Following(store);
    await following.hasPeers("n2 10.244.2.0/24");
    for (let round = 0; round < 20; round++) {
      server.putNode("n2", (node) => {
        node.status.images = [String(round)];
      });
    }
    server.putNode("n3", managed("10.244.3.0/24", "192.0.2.3"));
    await following.hasPeers("n2 10.244.2.0/24", "n3 10.244.3.0/24");
    expect(following.changes.filter(({ type }) => type === "changes")).toHaveLength(1);
  });

  it("are not asked for by the backend alloc", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    server.putNode("n2", managed("10.244.2.0/24", "192.0.2.2"));
    await using store = await open(server);
    await store.acquire(request({ Backend: { Type: "alloc" } }, { publicIp: parseAddress("192.0.2.1") }), signal);
    await using following = new Following(store);
    await following.hasPeers();
    const selectors = server.requests.flatMap(({ query }) => query.get("fieldSelector") ?? []);
    expect(new Set(selectors)).toEqual(new Set(["metadata.name=n1"]));
  });
});

describe("the state of the network", () => {
  const up = { isAvailable: true, reasons: [] };

  it("stands in the condition NetworkUnavailable, written once", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server);
    await store.acquire(request(), signal);
    store.host.report(up);
    const condition = () => server.node("n1")?.status.conditions?.[0];
    await until(() => condition() !== undefined, { what: "the condition" });
    expect(condition()).toMatchObject({
      ...{ type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp" },
      message: "Flannel is running on this node",
      lastTransitionTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    });
    const before = patches(server).length;
    for (let round = 0; round < 10; round++) store.host.report(up);
    await store.acquire(request(), signal);
    expect(patches(server)).toHaveLength(before);
  });

  it("is not told where --set-node-network-unavailable=false says so", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n1", withSubnet("10.244.1.0/24"));
    await using store = await open(server, { setsNodeCondition: false });
    await store.acquire(request(), signal);
    store.host.report(up);
    await store.acquire(request(), signal);
    expect(server.node("n1")?.status.conditions).toBeUndefined();
  });
});

describe("the network configuration", () => {
  it("is waited for, and followed", async () => {
    await using server = await KubeApiServer.start();
    const netConfigFile = join(directory, "followed.json");
    await using store = await open(server, { netConfigFile });
    await expect(store.networkConfig()).rejects.toMatchObject({ code: "CONFIG_MISSING", retryable: true });
    writeFileSync(netConfigFile, "\n");
    await expect(store.networkConfig()).rejects.toMatchObject({ code: "CONFIG_MISSING" });
    writeFileSync(netConfigFile, '{"Network":"10.244.0.0/16"}');
    const { text, revision } = await store.networkConfig();
    expect(text).toBe('{"Network":"10.244.0.0/16"}');
    const versions = store.watchNetworkConfig(revision, signal)[Symbol.asyncIterator]();
    const next = versions.next();
    writeFileSync(netConfigFile, '{"Network":"10.1.0.0/16"}');
    expect(await next).toMatchObject({ value: { text: '{"Network":"10.1.0.0/16"}' } });
    await versions.return?.();
  });
});

describe("a configuration file that cannot be read for a while", () => {
  it("is not reported as gone, and is read again", async () => {
    const path = join(directory, "unreadable.json");
    writeFileSync(path, '{"Network":"10.244.0.0/16"}');
    const file = new NetConfigFile(path);
    const { revision } = await file.read();
    const versions = file.watch(revision, signal)[Symbol.asyncIterator]();
    const next = versions.next();
    // A directory in its place: there, and cannot be read, whoever we are.
    rmSync(path);
    mkdirSync(path);
    await expect(file.read()).rejects.toMatchObject({ code: "FILE_FAILED" });
    await expect(Promise.race([next, delay(2_500, "nothing told")])).resolves.toBe("nothing told");
    rmSync(path, { recursive: true });
    writeFileSync(path, '{"Network":"10.1.0.0/16"}');
    expect(await next).toMatchObject({ value: { text: '{"Network":"10.1.0.0/16"}' } });
    await versions.return?.();
  });
});

describe("flannelctl's side", () => {
  it("lists leases, reads the ConfigMap where there is no file, and takes a Node out for good", async () => {
    await using server = await KubeApiServer.start();
    server.putNode("n2", managed("10.244.2.0/24", "192.0.2.2"));
    server.putNode("n2", (node) => {
      node.status.conditions = [
        { type: "NetworkUnavailable", status: "False", reason: "FlannelIsUp" },
        { type: "Ready" },
      ];
      node.metadata.annotations = { ...node.metadata.annotations, [`${prefix}node-public-ip`]: "192.0.2.2" };
    });
    await using store = await KubernetesAdministration.open(options(server, { netConfigFile: "/nowhere/x" }), {});
    expect((await store.list(signal)).map(({ key }) => key)).toEqual(["n2"]);
    await expect(store.networkConfig(signal)).rejects.toMatchObject({ code: "CONFIG_MISSING" });
    server.configMaps.set("kube-flannel/kube-flannel-cfg", { "net-conf.json": "{}" });
    expect(await store.networkConfig(signal)).toMatchObject({ text: "{}" });
    await expect(store.setConfig()).rejects.toMatchObject({ code: "USAGE" });
    await expect(store.release("n2", {}, signal)).rejects.toMatchObject({ code: "LEASE_CONFLICT" });
    await expect(store.release("n9", { force: true }, signal)).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(await store.release("n2", { force: true }, signal)).toBe("deleted");
    expect(server.node("n2")).toMatchObject({
      metadata: { annotations: { [`${prefix}node-public-ip`]: "192.0.2.2" } },
      status: { conditions: [{ type: "Ready" }] },
    });
    expect(Object.keys(server.node("n2")?.metadata.annotations ?? {})).toHaveLength(1);
    const before = patches(server).length;
    await store.release("n2", { force: true }, signal);
    expect(patches(server)).toHaveLength(before);
  });
});
