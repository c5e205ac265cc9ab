// Whether devices that are made later, such as the bridge of the first container, will forward IPv4.
import { carriesTraffic, defineCheck } from "../check.ts";
import { setSysctl } from "../fix-step.ts";
import { deviceForwardingKeyOf, forwardingKeyOf } from "../host-facts.ts";

export const newDevices = defineCheck({
  name: "device-sysctl-off",
  severity: "warning",
  needs: ["sysctls"],
  appliesTo: (context) => carriesTraffic(context) && context.families.has(4),
  check: ({ insideDevices = [] }, { sysctls }) => {
    const isOffLater = sysctls.get(forwardingKeyOf(4)) !== "0" && sysctls.get(deviceForwardingKeyOf("default")) === "0";
    return isOffLater && insideDevices.length === 0 ? [undefined] : [];
  },
  evidence: () =>
    "a bridge for containers that is made now will not forward IPv4 (net.ipv4.conf.default.forwarding = 0), unless " +
    "whoever makes it sets that",
  remedy: () => `sysctl -w ${deviceForwardingKeyOf("default")}=1`,
  fix: () => [setSysctl(deviceForwardingKeyOf("default"), "1")],
});
