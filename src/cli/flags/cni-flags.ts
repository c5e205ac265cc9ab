// flanneld's flags about the CNI configuration. Pure data.
import { bootFileRule } from "../../config/cni-boot-lines.ts";
import type { FlagDefinition } from "./flags.ts";

const group = "Lease and files";

export const cniFlags: readonly FlagDefinition[] = [
  {
    name: "cni-conf-file",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description:
      "CNI configuration to write once packets can flow, such as /etc/cni/net.d/10-flannel.conflist: pods are then " +
      "attached without flannel's plugin.",
    validate: (text) => (text.endsWith("/") ? "must be the path of a file" : undefined),
  },
  {
    name: "cni-conf-target",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description:
      "Where --cni-conf-file is kept, such as /run/flannel/10-flannel.conflist: --cni-conf-file is then a link to it, which " +
      "leads nowhere from a boot until packets can flow. Must be the same path in the agent's container and on the host.",
    validate: (text) => (/^\/.*[^/]$/.test(text) ? undefined : "must be the absolute path of a file"),
  },
  {
    name: "cni-boot-file",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description:
      "File of tmpfiles.d(5) to keep, such as /etc/tmpfiles.d/flannel-cni.conf, by which systemd removes --cni-conf-file at boot, " +
      "so that a rebooted host is not ready before its network. --cni-conf-file must be its path on the host then.",
    validate: bootFileRule,
  },
  {
    name: "cni-conf-template",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description:
      "What --cni-conf-file is made from, in the form of cni-conf.json in flannel's manifests; if not given, as there: bridge " +
      "with hairpin mode, and portmap.",
  },
  {
    name: "cni-state-dir",
    kind: "string",
    default: "/var/lib/cni",
    group,
    valueName: "DIR",
    description:
      "Where CNI plugins and the container runtime keep what they know of containers (networks, results, flannel): what " +
      "containers have left behind there is freed.",
  },
];
