// Made-up Nodes of a large cluster, of 20 KB each as kubelets with many images write them: announced as upstream's vxlan
// backend does.
import type { KubernetesApiClient } from "../lab/kubernetes/api-client.ts";
import { type Peer, peer } from "./peers.ts";

const prefix = "flannel.alpha.coreos.com/";
/** A kubelet lists at most so many. */
const IMAGES = 50;
const IMAGE_NAME_LENGTH = 300;
const AT_ONCE = 8;

export function nodeName(number: number): string {
  return `node-${number}`;
}

/** A Node as it is after its agent's announcement. */
export function nodeObject(number: number): object {
  const { subnet, publicIp, mac }: Peer = peer(number);
  return {
    metadata: {
      name: nodeName(number),
      labels: { "kubernetes.io/os": "linux", "kubernetes.io/hostname": nodeName(number) },
      annotations: {
        [`${prefix}kube-subnet-manager`]: "true",
        [`${prefix}backend-type`]: "vxlan",
        [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"${mac}"}`,
        [`${prefix}public-ip`]: publicIp,
      },
    },
    spec: { podCIDR: subnet, podCIDRs: [subnet] },
    status: {
      addresses: [{ type: "InternalIP", address: publicIp }],
      capacity: { cpu: "8", memory: "32Gi", pods: "110" },
      conditions: [readyCondition()],
      images: Array.from({ length: IMAGES }, (_, image) => ({
        names: [`registry.example.net/image-${image}@sha256:`.padEnd(IMAGE_NAME_LENGTH, String(image))],
        sizeBytes: 100_000_000 + image,
      })),
    },
  };
}

/** What a kubelet writes every five minutes even if nothing has changed. */
export function readyCondition(): object {
  const now = `${new Date().toISOString().slice(0, 19)}Z`;
  return { type: "Ready", status: "True", reason: "KubeletReady", lastHeartbeatTime: now };
}

/** Nodes 0 to `count` - 1. */
export async function createNodes(client: KubernetesApiClient, count: number): Promise<void> {
  let next = 0;
  const work = async () => {
    for (let number = next++; number < count; number = next++) await client.post("/api/v1/nodes", nodeObject(number));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}
