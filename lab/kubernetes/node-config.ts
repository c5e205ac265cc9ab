// The configuration files of what runs on a Kubernetes node of the lab: containerd, the kubelet, kube-proxy.

/** The image that holds a pod's namespaces, and what pods of the lab run: see `images.ts`. */
export const busyboxImage = "lab.local/busybox:1";

/** No file system of Debian's kernel that it would look for in vain; no rights that some machines lack. */
export const containerdConfig = `version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${busyboxImage}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`;

export function kubeletConfig(options: {
  readonly cgroupRoot: string;
  readonly caFile: string;
  readonly clusterDns?: string;
}): object {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    failCgroupV1: false,
    cgroupDriver: "cgroupfs",
    cgroupRoot: options.cgroupRoot,
    enforceNodeAllocatable: [],
    containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock",
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: options.caFile },
    },
    authorization: { mode: "Webhook" },
    ...(options.clusterDns !== undefined && { clusterDNS: [options.clusterDns], clusterDomain: "cluster.local" }),
    failSwapOn: false,
    oomScoreAdj: 0,
    // What the machine refuses (limits, /dev/kmsg) is not fatal.
    featureGates: { KubeletInUserNamespace: true },
    evictionHard: { "memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    // Images come from files: what is collected would not come back.
    imageGCHighThresholdPercent: 100,
    // Or it makes a directory on the machine.
    volumePluginDir: "/var/lib/kubelet/volumeplugins",
    nodeStatusUpdateFrequency: "10s",
  };
}

export type ProxyMode = "iptables" | "nftables";

export function proxyConfig(options: {
  readonly node: string;
  readonly kubeconfig: string;
  readonly mode: ProxyMode;
  readonly podNetworks: readonly string[];
}): object {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    clientConnection: { kubeconfig: options.kubeconfig },
    mode: options.mode,
    clusterCIDR: options.podNetworks.join(","),
    hostnameOverride: options.node,
    // No writes to switches of the whole machine.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  };
}
