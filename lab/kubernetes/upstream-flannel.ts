// Upstream's flannel in a cluster of the lab: its image around its own flanneld, and the DaemonSet that its manifest makes:
// the names that ours has, two init containers for the CNI plugin and its configuration.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ownArchitecture } from "../../packaging/architecture.ts";
import { packageVersion } from "../../packaging/checkout.ts";
import { writeImageArchive } from "../../packaging/image/image-archive.ts";
import { imageLayers } from "../../packaging/image/image-files.ts";
import { upstreamPlugin } from "../runtime/flannel-plugin.ts";
import { upstreamProgram, upstreamVersion } from "../upstream-program.ts";

const image = `ghcr.io/flannel-io/flannel:${upstreamVersion}`;
const checkout = fileURLToPath(new URL("../..", import.meta.url));

export function packageUpstreamImage(output: string): void {
  const architecture = ownArchitecture();
  const program = (path: string, file: string) => ({ path, content: readFileSync(file), mode: 0o755 });
  const own = [
    { path: "opt", content: "directory" as const },
    { path: "opt/bin", content: "directory" as const },
    program("opt/bin/flanneld", upstreamProgram()),
    program("opt/bin/install-conf", `${checkout}/bin/install-conf`),
    program("opt/bin/flannel", upstreamPlugin()),
  ];
  // The layer with iptables and nft is that of our image: nodes have it once.
  const [system] = imageLayers(architecture, packageVersion());
  const config = { Entrypoint: ["/opt/bin/flanneld"], Env: ["PATH=/opt/bin:/usr/sbin:/usr/bin"], WorkingDir: "/" };
  const whole = { name: image, architecture: architecture.name, createdSeconds: 0, config, layers: [system, own] };
  writeImageArchive(output, whole, 1);
}

const labels = { app: "flannel", "k8s-app": "flannel", tier: "node" };
const metadata = { name: "flannel", labels: { "k8s-app": "flannel" } };
const inNamespace = { namespace: "kube-flannel", labels };

const cniConfig = {
  name: "cbr0",
  cniVersion: "0.3.1",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

/** For `kubectl apply`. `netConf`: the network configuration. */
export function upstreamManifest(netConf: object): string {
  const items = [
    {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: {
        name: "kube-flannel",
        labels: { "k8s-app": "flannel", "pod-security.kubernetes.io/enforce": "privileged" },
      },
    },
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { ...metadata, namespace: "kube-flannel" } },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata,
      rules: [
        { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
        { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
        { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
      ],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "flannel" },
      subjects: [{ kind: "ServiceAccount", name: "flannel", namespace: "kube-flannel" }],
    },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { ...inNamespace, name: "kube-flannel-cfg" },
      data: { "cni-conf.json": JSON.stringify(cniConfig), "net-conf.json": JSON.stringify(netConf) },
    },
    {
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata: { ...inNamespace, name: "kube-flannel-ds" },
      spec: {
        selector: { matchLabels: { app: "flannel", "k8s-app": "flannel" } },
        template: { metadata: { labels }, spec: podSpec() },
      },
    },
  ];
  return JSON.stringify({ apiVersion: "v1", kind: "List", items });
}

export const olderDaemonSet = ["-n", "kube-system", "daemonset/kube-flannel-ds-amd64"] as const;

/** The same as old manifests have it: no namespace of its own, and a DaemonSet for each architecture. */
export function olderUpstreamManifest(netConf: object): string {
  const { items, ...list } = JSON.parse(upstreamManifest(netConf)) as { items: readonly { kind: string }[] };
  return JSON.stringify({ ...list, items: items.filter(({ kind }) => kind !== "Namespace") })
    .replaceAll('"namespace":"kube-flannel"', '"namespace":"kube-system"')
    .replaceAll('"name":"kube-flannel-ds"', '"name":"kube-flannel-ds-amd64"');
}

function podSpec(): object {
  const hostPath = (name: string, path: string, type?: string) => ({
    name,
    hostPath: { path, ...(type !== undefined && { type }) },
  });
  const mount = (name: string, mountPath: string) => ({ name, mountPath });
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  const probe = (path: string) => ({ httpGet: { path, port: 8081 }, initialDelaySeconds: 1, periodSeconds: 2 });
  return {
    hostNetwork: true,
    priorityClassName: "system-node-critical",
    serviceAccountName: "flannel",
    tolerations: [{ operator: "Exists", effect: "NoSchedule" }],
    initContainers: [
      {
        ...{ name: "install-cni-plugin", image, command: ["cp"] },
        args: ["-f", "/opt/bin/flannel", "/opt/cni/bin/flannel"],
        volumeMounts: [mount("cni-plugin", "/opt/cni/bin")],
      },
      {
        ...{ name: "install-cni", image, command: ["/opt/bin/install-conf"] },
        args: ["/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"],
        volumeMounts: [mount("cni", "/etc/cni/net.d"), mount("flannel-cfg", "/etc/kube-flannel/")],
      },
    ],
    containers: [
      {
        ...{ name: "kube-flannel", image, command: ["/opt/bin/flanneld"] },
        args: ["--ip-masq", "--kube-subnet-mgr", "--healthz-port=8081"],
        env: [
          field("POD_NAME", "metadata.name"),
          field("POD_NAMESPACE", "metadata.namespace"),
          { name: "EVENT_QUEUE_DEPTH", value: "5000" },
        ],
        securityContext: { privileged: false, capabilities: { add: ["NET_ADMIN", "NET_RAW"] } },
        livenessProbe: probe("/healthz"),
        readinessProbe: probe("/readyz"),
        volumeMounts: [
          mount("run", "/run/flannel"),
          mount("flannel-cfg", "/etc/kube-flannel/"),
          mount("xtables-lock", "/run/xtables.lock"),
        ],
      },
    ],
    volumes: [
      hostPath("run", "/run/flannel"),
      hostPath("cni-plugin", "/opt/cni/bin"),
      hostPath("cni", "/etc/cni/net.d"),
      { name: "flannel-cfg", configMap: { name: "kube-flannel-cfg" } },
      hostPath("xtables-lock", "/run/xtables.lock", "FileOrCreate"),
    ],
  };
}
