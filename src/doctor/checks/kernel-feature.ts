// Whether the kernel makes the devices that the backend needs.
import { defineCheck } from "../check.ts";

export const kernelFeature = defineCheck({
  name: "kernel-module-missing",
  severity: "error",
  needs: ["deviceRefusal"],
  appliesTo: ({ needs }) => needs.kernelDevice !== undefined,
  check: ({ needs }, { deviceRefusal: refusal }) =>
    needs.kernelDevice === undefined || refusal === undefined ? [] : [{ kind: needs.kernelDevice.kind, refusal }],
  evidence: ({ kind, refusal }) =>
    `this kernel does not support ${kind} devices (${refusal}): containers cannot reach other hosts`,
  remedy: ({ kind }) =>
    `modprobe ${kind} # not found: install the package of further kernel modules (linux-modules-extra, kernel-modules-extra), ` +
    "or, where the kernel was built without it, choose another kernel or another backend",
});
