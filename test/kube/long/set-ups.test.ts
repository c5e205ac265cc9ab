// Our manifest on kubelets in other set-ups than test/kube/cluster.test.ts has: backends, families, modes of kube-proxy and
// of flannel's own rules. Everything that Kubernetes wants of a network, in each.
import { rm } from "node:fs/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { Families } from "../../../lab/kubernetes/api-server.ts";
import { KubernetesCluster } from "../../../lab/kubernetes/cluster.ts";
import { FlannelPods } from "../../../lab/kubernetes/flannel-pods.ts";
import type { ProxyMode } from "../../../lab/kubernetes/node-config.ts";
import { serveWireguard, withWireguardSockets } from "../../../lab/kubernetes/wireguard-nodes.ts";
import { packageFlannelImage } from "../../support/flannel-image.ts";
import {
  expectAllTalk,
  expectMasquerading,
  expectMtuFits,
  expectServices,
  startThreePods,
} from "../../support/pod-network.ts";

interface SetUp {
  readonly type: "vxlan" | "host-gw" | "udp" | "wireguard";
  readonly families: Families;
  readonly proxyMode: ProxyMode;
  /** EnableNFTables. */
  readonly nftables: boolean;
}

/** Each backend with each family, each mode of kube-proxy with each of ours; not all with all. */
const setUps: readonly SetUp[] = [
  { type: "vxlan", families: "ipv4", proxyMode: "nftables", nftables: true },
  { type: "vxlan", families: "ipv6", proxyMode: "iptables", nftables: true },
  { type: "host-gw", families: "dual", proxyMode: "nftables", nftables: false },
  { type: "host-gw", families: "ipv6", proxyMode: "nftables", nftables: true },
  { type: "udp", families: "ipv4", proxyMode: "iptables", nftables: false },
  { type: "udp", families: "dual", proxyMode: "nftables", nftables: true },
  { type: "wireguard", families: "dual", proxyMode: "iptables", nftables: true },
  { type: "wireguard", families: "ipv6", proxyMode: "nftables", nftables: false },
];

const imageFile = "/run/flannel-image.tar";

let cluster: KubernetesCluster | undefined;

afterEach(async () => {
  await cluster?.[Symbol.asyncDispose]();
  cluster = undefined;
});

describe.each(setUps)("$type, $families, kube-proxy $proxyMode, EnableNFTables $nftables", (setUp) => {
  it("is a network for Kubernetes", async () => {
    const { type, families, proxyMode, nftables } = setUp;
    const ipv6 = { EnableIPv6: true, IPv6Network: "fd00:244::/56" };
    const networks = {
      ipv4: { Network: "10.244.0.0/16" },
      ipv6: { EnableIPv4: false, ...ipv6 },
      dual: { Network: "10.244.0.0/16", ...ipv6 },
    };
    const netConf = { ...networks[families], EnableNFTables: nftables, Backend: { Type: type } };
    const packaged = packageFlannelImage(imageFile, netConf);
    const manifest = type === "wireguard" ? withWireguardSockets(packaged) : packaged;
    cluster = await KubernetesCluster.start({ families, proxyMode, images: [imageFile] });
    await rm(imageFile);
    if (type === "wireguard") await serveWireguard(cluster, ["flannel-wg", "flannel-wg-v6"]);
    const agents = new FlannelPods(cluster);
    await agents.rollOut(manifest);
    for (const node of [1, 2]) await cluster.untilNode(node).catch((error: unknown) => agents.explain(error));
    const pods = await startThreePods(cluster);
    await expectAllTalk(pods).catch((error: unknown) => agents.explain(error));
    await expectMtuFits(pods, families === "dual" && ["vxlan", "udp"].includes(type) ? 20 : 0);
    await expectServices(cluster, agents, pods);
    await expectMasquerading(pods);
    for (const node of [1, 2]) expect(await agents.ctl(node, "status")).toContain("ready");
  });
});
