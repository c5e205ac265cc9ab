// The wireguard backend with wireguard-go, since not every kernel has WireGuard: packets of all families, upstream's forms in
// kernel and store, healing, and nothing lost over restarts.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import type { LabHost } from "../../lab/host.ts";
import { link } from "../../lab/kernel-view.ts";
import { leaseEntryOf, leases } from "../../lab/lease-view.ts";
import { ContinuousPing, ping, pingAll, untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { wg, wgDump, wgQuickUp, wireguardAgent, withSockets } from "../../lab/wireguard-host.ts";
import { publicKeyOf } from "../../src/wireguard/keys.ts";
import { everythingSaid } from "../support/everything-said.ts";
import { flannelctl } from "../support/flannelctl.ts";
import { Program, restartAllWays } from "../support/restarts.ts";

const network = "10.5.0.0/16";
const ipv6Network = "fd00:5::/48";
const lanNetwork = "192.168.50.0/24";
const presharedKey = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE=";

const configKey = "/coreos.com/network/config";

function configWith(Backend: object): string {
  return JSON.stringify({ Network: network, EnableIPv6: true, IPv6Network: ipv6Network, Backend });
}

describe("dual stack, a device for each family", () => {
  let cluster: Cluster;
  const program = new Program();
  const launch = (host: LabHost) => {
    const { program: argv, keyFile } = wireguardAgent(host, program.flanneld);
    return { program: argv, env: { WIREGUARD_KEY_FILE: keyFile } };
  };
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

  it("tells of each peer its endpoint, last handshake and bytes, and who serves the devices", async () => {
    const agent = cluster.agent(1);
    const dataPlane = await until(
      async () => {
        const found = (await agent.status()).dataPlane;
        return found?.peers.every(({ receivedBytes = 0 }) => receivedBytes > 0) === true ? found : undefined;
      },
      { what: "the bytes of the peers" },
    );
    const isOfKernel = (await link(agent.host.namespace, "flannel-wg"))?.kind === "wireguard";
    expect(dataPlane.features).toEqual({ implementation: isOfKernel ? "kernel" : "wireguard-go" });
    const others = [cluster.lan.host(2), cluster.lan.host(3)];
    const ports = others.flatMap(({ ipv4, ipv6 }) => [`${ipv4}:51820`, `[${ipv6}]:51821`]);
    expect(dataPlane.peers).toHaveLength(2);
    for (const { endpoint, lastHandshakeAt = "", sentBytes } of dataPlane.peers) {
      expect(ports).toContain(endpoint);
      expect(Math.abs(Date.now() - Date.parse(lastHandshakeAt))).toBeLessThan(180_000);
      expect(sentBytes).toBeGreaterThan(0);
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

  it("loses no packet when agents are killed, restarted and upgraded", async () => {
    const { ipv4, ipv6 } = cluster.pod(2);
    expect(await restartAllWays(cluster, program, [ipv4, ipv6])).toEqual({ lost: [0, 0], isUpgraded: true });
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

  it("gives a host a new key; no pair is cut off for longer than a second", async () => {
    const { host, controlSocket } = cluster.agent(1);
    const before = await wgDump(host, "flannel-wg");
    const [one, two, three] = [cluster.pod(1), cluster.pod(2), cluster.pod(3)];
    await using there = await ContinuousPing.start(one.namespace, two.ipv4 ?? "");
    await using back = await ContinuousPing.start(three.namespace, one.ipv6 ?? "");
    await using others = await ContinuousPing.start(two.namespace, three.ipv4 ?? "");
    const { exitCode, stdout } = await flannelctl(["wireguard", "rotate", "--json", "--socket", controlSocket]);
    expect(exitCode, stdout).toBe(0);
    expect(stdout).toContain('"pending": []');
    const after = await wgDump(host, "flannel-wg");
    expect(after.publicKey).not.toBe(before.publicKey);
    expect(stdout).toContain(JSON.stringify(after.publicKey));
    expect(publicKeyOf(readFileSync(wireguardAgent(host).keyFile, "utf8"))).toBe(after.publicKey);
    expect((await leaseEntryOf(cluster.etcd, host.ipv4 ?? "")).value).toContain(JSON.stringify(after.publicKey));
    for (const other of [cluster.agent(2), cluster.agent(3)]) {
      const keys = (await wgDump(other.host, "flannel-wg")).peers.map(({ publicKey }) => publicKey);
      expect(keys).toContain(after.publicKey);
      expect(keys).not.toContain(before.publicKey);
    }
    for (const traffic of [there, back]) {
      await traffic.more(10);
      const { lost, longestSilenceMs } = await traffic.stop();
      console.log(`another key: ${lost.length} packets lost, silent for ${longestSilenceMs.toFixed(0)} ms`);
      // At ten milliseconds between two packets.
      expect(lost.length).toBeLessThan(100);
    }
    expect((await others.stop()).lost).toEqual([]);
  });

  it("will not rotate while a host is missing that could not follow, unless forced", async () => {
    const foreign = "/coreos.com/network/subnets/10.5.250.0-24";
    const value = { PublicIP: "192.168.50.250", BackendType: "wireguard", BackendData: { PublicKey: "nonsense" } };
    await cluster.etcd.put(foreign, JSON.stringify(value));
    const { host, controlSocket } = cluster.agent(2);
    await until(async () => (await cluster.agent(2).status()).peers.skipped.length === 1, {
      what: "the lease to be seen",
    });
    const { publicKey } = await wgDump(host, "flannel-wg");
    const refused = await flannelctl(["wireguard", "rotate", "--socket", controlSocket]);
    expect(refused).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("1 of 3 peers are not reached") as string,
    });
    expect((await wgDump(host, "flannel-wg")).publicKey).toBe(publicKey);
    const forced = await flannelctl(["wireguard", "rotate", "--force", "--socket", controlSocket]);
    expect(forced.stdout).toMatch(/^the key of this host is /);
    expect((await wgDump(host, "flannel-wg")).publicKey).not.toBe(publicKey);
    await cluster.etcd.delete(foreign);
    await untilAllPing(cluster.pods);
  });

  it.each([5, 60, 150])("goes on with a rotation that ended with the agent %i ms after it began", async (afterMs) => {
    const { host, controlSocket } = cluster.agent(3);
    await cluster.agent(3).untilReady({ peers: 2 });
    const asked = flannelctl(["wireguard", "rotate", "--socket", controlSocket]);
    await delay(afterMs); // wherever it is by then
    await cluster.agent(3).kill9();
    await asked;
    await cluster.startAgent(3).untilReady({ peers: 2 });
    const isWhole = async () => {
      const { publicKey } = await wgDump(host, "flannel-wg");
      const { value } = await leaseEntryOf(cluster.etcd, host.ipv4 ?? "");
      const peers = (await Promise.all([1, 2].map((n) => wgDump(cluster.agent(n).host, "flannel-wg")))).map((dump) =>
        dump.peers.map((peer) => peer.publicKey),
      );
      return value.includes(JSON.stringify(publicKey)) && peers.every((keys) => keys.includes(publicKey));
    };
    await until(isWhole, { what: "device, lease and peers to agree on the key" });
    await untilAllPing(cluster.pods);
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
    const agent = cluster.agent(1);
    const secrets = [presharedKey, readFileSync(wireguardAgent(agent.host).keyFile, "utf8")];
    const said = await everythingSaid(agent, {
      etcdEndpoints: cluster.etcd.endpoints,
      address: cluster.pod(2).ipv4 ?? "",
      wrap: (argv) => withSockets(agent.host, argv),
    });
    expect(said).toContain((await wgDump(agent.host, "flannel-wg")).publicKey);
    for (const secret of secrets) expect(said).not.toContain(secret.trim());
  });
});
