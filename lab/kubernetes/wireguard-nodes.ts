// WireGuard on Kubernetes nodes whose kernel has none: wireguard-go as a service of each node, and its sockets in the agents'
// pods, as docs/kubernetes.md says. Pods could not run it: it would end with each of them.
import type { KubernetesCluster } from "./cluster.ts";

const sockets = "/run/wireguard";

/** As a unit with `Restart=always` would: a program whose device is deleted comes back. */
export async function serveWireguard({ nodes }: KubernetesCluster, devices: readonly string[]): Promise<void> {
  for (const node of nodes) {
    for (const device of devices) {
      const service = `while :; do wireguard-go -f ${device}; sleep 0.2; done`;
      await node.run(["sh", "-c", `mkdir -p ${sockets}; (${service}) </dev/null >/dev/null 2>&1 &`]);
    }
  }
}

/** Our manifest, with the node's sockets where the agent looks for them. */
export function withWireguardSockets(manifest: string): string {
  const mount = `            - { name: wireguard, mountPath: /var/run/wireguard }`;
  const volume = `        - name: wireguard\n          hostPath: { path: ${sockets}, type: DirectoryOrCreate }`;
  const changed = manifest
    .replace(/^ {10}volumeMounts:$/m, (line) => `${line}\n${mount}`)
    .replace(/^ {6}volumes:$/m, (line) => `${line}\n${volume}`);
  if (changed.split("wireguard").length < 5) throw new Error("the manifest has no volumes of this form");
  return changed;
}
