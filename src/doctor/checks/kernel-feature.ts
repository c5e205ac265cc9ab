// Whether the kernel makes the devices that the backend needs.
import { moduleOfDevices } from "../../netlink/rtnetlink/device-module.ts";
import { defineCheck } from "../check.ts";

export const kernelFeature = defineCheck({
  name: "kernel-module-missing",
  severity: "error",
  needs: ["deviceRefusal"],
  appliesTo: ({ needs }) => needs.kernelDevice !== undefined,
  check: (_, { deviceRefusal }) => (deviceRefusal === undefined ? [] : [deviceRefusal]),
  evidence: ({ kind, refusal }) =>
    `this kernel does not support ${kind} devices (${refusal}): containers cannot reach other hosts` +
    (kind === "ip6tnl" ? " over IPv6" : ""),
  remedy: ({ kind }) =>
    `modprobe ${moduleOfDevices(kind)} # not found: install the package of further kernel modules (linux-modules-extra, kernel-modules-extra), ` +
    "or, where the kernel was built without it, choose another kernel or another backend",
  fix: ({ kind }) => {
    const module = moduleOfDevices(kind);
    return [{ kind: "run", command: ["modprobe", module], undo: ["modprobe", "-r", module] }];
  },
});
