// The wireguard backend with wireguard-go, since not every kernel has WireGuard: packets of all families, upstream's forms in
// kernel and store, healing, and nothing lost over restarts.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import { link } from "../../lab/kernel-view.ts";
import { leaseEntryOf, leases } from "../../lab/lease-view.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { wg, wgDump, wgQuickUp, wireguardAgent } from "../../lab/wireguard-host.ts";
import { publicKeyOf } from "../../src/wireguard/keys.ts";
import { flannelctl } from "../support/flannelctl.ts";

const network = "10.5.0.0/16";
const ipv6Network = "fd00:5::/48";
const lanNetwork = "192.168.50.0/24";
const presharedKey = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE=";

const configKey = "/coreos.com/network/config";

function configWith(Backend: object): string {
  return JSON.stringify({ Network: network, EnableIPv6: true, IPv6Network: ipv6Network, Backend });
}

function launch(host: LabHost) {
  const { program, keyFile } = wireguardAgent(host);
  return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
}

describe("dual stack, a device for each family", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    const config = JSON.parse(configWith({ Type: "wireguard", PSK: presharedKey })) as Record<string, unknown>;
    cluster = await Cluster.start({ hosts: 4, ipv6: true, config, launch, withoutAgent: [4] });
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  it("connects all containers; devices, peers, lease and subnet.env have upstream's forms", async () => {
    await untilAllPing(cluster.pods);
    expect(await pingAll(cluster.pods)).toHaveLength(3 * 2 * 2);
    const all = await leases(cluster.etcd);
    for (const { host, subnetFile } of cluster.agents) {
      const own = all.find(({ publicIp }) => publicIp === host.ipv4);
      const dump = await wgDump(host, "flannel-wg");
      expect(dump.port).toBe(51_820);
      expect((await wgDump(host, "flannel-wg-v6")).port).toBe(51_821);
      expect(dump.peers.map(({ endpoint }) => endpoint).sort()).toEqual(
        all
          .filter((lease) => lease !== own)
          .map(({ publicIp }) => `${publicIp}:51820`)
          .sort(),
      );
      expect(dump.peers.flatMap(({ allowedIps }) => allowedIps).sort()).toEqual(
        all
          .filter((lease) => lease !== own)
          .map(({ subnet }) => subnet)
          .sort(),
      );
      expect(dump.peers.every((peer) => peer.presharedKey === presharedKey)).toBe(true);
      const { value } = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
      expect(value).toBe(
        `{"PublicIP":"${host.ipv4}","PublicIPv6":"${host.ipv6}","BackendType":"wireguard",` +
          `"BackendData":{"PublicKey":"${dump.publicKey}","Port":51820},` +
          `"BackendV6Data":{"PublicKey":"${dump.publicKey}","Port":51821}}`,
      );
      expect(readFileSync(subnetFile, "utf8")).toContain("FLANNEL_MTU=1420\n");
      expect((await link(host.namespace, "flannel-wg"))?.mtuBytes).toBe(1420);
      expect(await host.namespace.ip("route", "show", "dev", "flannel-wg")).toMatch(/^10\.5\.0\.0\/16 .*scope link/);
    }
  });

  it("carries the largest packet and no larger one", async () => {
    const [from, to] = [cluster.pod(1), cluster.pod(2)];
    expect(await ping(from.namespace, to.ipv4 ?? "", { payloadBytes: 1420 - 28 })).toBeDefined();
    expect(await ping(from.namespace, to.ipv6 ?? "", { payloadBytes: 1420 - 48 })).toBeDefined();
  });

  it.each([
    [
      "a peer",
      async (host: LabHost, peer: string) => void (await wg(host, "set", "flannel-wg", "peer", peer, "remove")),
    ],
    [
      "allowed IPs",
      async (host: LabHost, peer: string) =>
        void (await wg(host, "set", "flannel-wg", "peer", peer, "allowed-ips", "")),
    ],
    [
      "an endpoint",
      async (host: LabHost, peer: string) =>
        void (await wg(host, "set", "flannel-wg", "peer", peer, "endpoint", "192.168.100.99:9")),
    ],
    ["a port", async (host: LabHost) => void (await wg(host, "set", "flannel-wg", "listen-port", "4711"))],
    ["a device", async (host: LabHost) => void (await host.namespace.ip("link", "delete", "dev", "flannel-wg"))],
  ])("puts back %s that somebody removed or changed", async (_, damage) => {
    const { host } = cluster.agent(1);
    const view = async () => {
      const { port, publicKey, peers } = await wgDump(host, "flannel-wg");
      return {
        port,
        publicKey,
        peers: peers.map(({ publicKey: key, endpoint, allowedIps }) => ({ key, endpoint, allowedIps })),
      };
    };
    const before = await view();
    await damage(host, before.peers[0]?.key ?? "");
    await until(async () => JSON.stringify(await view().catch(() => undefined)) === JSON.stringify(before), {
      what: "the device to be as before",
    });
    await untilAllPing(cluster.pods);
  });

  it("loses no packet when the agent is killed and started again", async () => {
    const [from, to] = [cluster.pod(1), cluster.pod(2)];
    await using traffic = await ContinuousPing.start(from.namespace, to.ipv4 ?? "");
    await cluster.agent(1).kill9();
    await cluster.startAgent(1).untilReady({ peers: 2 });
    await cluster.agent(2).term();
    await cluster.startAgent(2).untilReady({ peers: 2 });
    await traffic.more(10);
    expect((await traffic.stop()).lost).toEqual([]);
  });

  it("keeps its key when /run is empty, and takes over the one in the file", async () => {
    const { host } = cluster.agent(1);
    const { publicKey } = await wgDump(host, "flannel-wg");
    const { keyFile } = wireguardAgent(host);
    const key = readFileSync(keyFile, "utf8");
    await cluster.agent(1).term();
    rmSync(keyFile);
    await cluster.startAgent(1).untilReady({ peers: 2 });
    expect(readFileSync(keyFile, "utf8")).toBe(key);
    expect((await wgDump(host, "flannel-wg")).publicKey).toBe(publicKey);
  });

  it("follows a pre-shared key in a file, and keeps the last one while the file cannot be used", async () => {
    const directory = mkdtempSync(join(tmpdir(), "flannel-psk-"));
    const PSKFile = join(directory, "psk");
    const keyOf = (n: number) => Buffer.alloc(32, n).toString("base64");
    const keys = async () => {
      const dumps = await Promise.all(cluster.agents.map(({ host }) => wgDump(host, "flannel-wg")));
      return [...new Set(dumps.flatMap(({ peers }) => peers.map((peer) => peer.presharedKey)))];
    };
    const untilKey = (n: number) =>
      until(async () => (await keys()).join() === keyOf(n), { what: `key ${n} to be the only one` });
    writeFileSync(PSKFile, `${keyOf(1)}\n`, { mode: 0o600 });
    await cluster.etcd.put(configKey, configWith({ Type: "wireguard", PSKFile }));
    await untilKey(1);
    writeFileSync(PSKFile, keyOf(2));
    await untilKey(2);
    chmodSync(PSKFile, 0o644);
    const { host } = cluster.agent(1);
    const finding = async () => (await cluster.agent(1).status()).findings.find(({ name }) => name === "secret-file");
    await until(async () => (await finding())?.evidence.includes("mode 0644"), { what: "the mode to be told" });
    expect(await keys()).toEqual([keyOf(2)]);
    await untilAllPing(cluster.pods);
    // A peer is not made without its key.
    const [peer] = (await wgDump(host, "flannel-wg")).peers;
    await wg(host, "set", "flannel-wg", "peer", peer?.publicKey ?? "", "remove");
    const failures = async () => (await cluster.agent(1).status()).failures ?? [];
    await until(async () => (await failures()).some(({ error }) => error.includes("mode 0644")), {
      what: "the missing peer to be told",
    });
    chmodSync(PSKFile, 0o600);
    await until(async () => (await wgDump(host, "flannel-wg")).peers.length === 2, { what: "the peer to be back" });
    expect(await keys()).toEqual([keyOf(2)]);
    await untilAllPing(cluster.pods);
    rmSync(directory, { recursive: true });
  });

  it("connects a laptop by the configuration that is exported for it", async () => {
    const laptop = cluster.lan.host(4);
    const privateKey = Buffer.alloc(32, 7).toString("base64");
    const peer = { Name: "laptop", PublicKey: publicKeyOf(privateKey), AllowedIPs: ["10.99.0.2", "fd99::2"] };
    // Covers all hosts: none of them may take it.
    const gateway = { Name: "gateway", PublicKey: Buffer.alloc(32).toString("base64"), AllowedIPs: [lanNetwork] };
    const config = configWith({ Type: "wireguard", PSK: presharedKey, Peers: [peer, gateway] });
    await cluster.etcd.put(configKey, config);
    const statuses = () => Promise.all(cluster.agents.map((agent) => agent.status()));
    await until(async () => (await statuses()).every((status) => status.dataPlane?.staticPeers?.length === 1), {
      what: "every host to have the laptop as a peer",
    });
    for (const { peers, findings } of await statuses()) {
      expect(peers.skipped).toMatchObject([{ key: "static peer gateway" }]);
      expect(findings).toEqual([]);
    }
    const etcd = ["--etcd-endpoints", cluster.etcd.endpoints];
    const { stdout, exitCode } = await flannelctl(["wireguard", "export", "laptop", ...etcd]);
    expect(exitCode).toBe(0);
    for (const secret of [privateKey, presharedKey]) expect(stdout).not.toContain(secret);
    await wgQuickUp(laptop, "laptop", privateKey, stdout);
    for (const { ipv4 = "", ipv6 = "", namespace } of cluster.pods) {
      for (const to of [ipv4, ipv6]) {
        await until(async () => (await ping(laptop.namespace, to)) !== undefined, {
          what: `the laptop to reach ${to}`,
        });
      }
      expect(await ping(namespace, "10.99.0.2")).toBeDefined();
      expect(await ping(namespace, "fd99::2")).toBeDefined();
    }
    const [shown] = (await statuses())[0]?.dataPlane?.staticPeers ?? [];
    expect(shown?.name).toBe("laptop");
    await until(async () => (await statuses())[0]?.dataPlane?.staticPeers?.[0]?.lastHandshakeAt !== undefined, {
      what: "its handshake to be shown",
    });
    // What nobody wants any more goes.
    await cluster.etcd.put(configKey, configWith({ Type: "wireguard", PSK: presharedKey }));
    const { namespace } = cluster.agent(1).host;
    await until(async () => !(await namespace.ip("route", "show", "dev", "flannel-wg")).includes("10.99"), {
      what: "the laptop's route to go",
    });
    expect((await wgDump(cluster.agent(1).host, "flannel-wg")).peers).toHaveLength(2);
    await untilAllPing(cluster.pods);
  });

  it("never shows a secret", async () => {
    const { host, output } = cluster.agent(1);
    const secrets = [presharedKey, readFileSync(wireguardAgent(host).keyFile, "utf8")];
    const said = [output, JSON.stringify(await cluster.agent(1).status())].join("\n");
    for (const secret of secrets) expect(said).not.toContain(secret);
  });
});
