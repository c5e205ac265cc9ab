// flanneld's flags for Kubernetes, as in flannel v0.28. Pure data.
import { annotationNames } from "../../config/annotation-prefix.ts";
import type { FlagDefinition } from "./flags.ts";

/** Undefined when annotations can have this prefix. */
function annotationPrefixRule(text: string): string | undefined {
  try {
    annotationNames(text);
    return undefined;
  } catch (error) {
    return error instanceof RangeError ? error.message : "is not a prefix";
  }
}

const group = "Kubernetes";

export const kubernetesFlags: readonly FlagDefinition[] = [
  {
    name: "kube-subnet-mgr",
    kind: "bool",
    default: false,
    group,
    description:
      "Use the Kubernetes API instead of etcd: this host's subnet is the podCIDR of its Node. The environment names the " +
      "Node: NODE_NAME, or POD_NAME and POD_NAMESPACE.",
  },
  {
    name: "kube-api-url",
    kind: "string",
    default: "",
    group,
    valueName: "URL",
    description:
      "Kubernetes API server, in place of the one in --kubeconfig-file; several of one cluster separated by commas.",
  },
  {
    name: "kubeconfig-file",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description: "kubeconfig file with server and credentials; in a pod neither this nor the URL is needed.",
  },
  {
    name: "kube-annotation-prefix",
    kind: "string",
    default: "flannel.alpha.coreos.com",
    group,
    valueName: "PREFIX",
    description: "Prefix of the annotations by which Nodes announce themselves.",
    validate: annotationPrefixRule,
  },
  {
    name: "net-config-path",
    kind: "string",
    default: "/etc/kube-flannel/net-conf.json",
    group,
    valueName: "FILE",
    description: "File with the network config. The agent waits for it, and follows its changes.",
    validate: (text) => (text === "" ? "must not be empty" : undefined),
  },
  {
    name: "set-node-network-unavailable",
    kind: "bool",
    default: true,
    group,
    description: "Set the condition NetworkUnavailable of this host's Node: False while packets can flow, else True.",
  },
];
