// Whether each device by which packets of containers come in forwards IPv4: the setting of all devices says nothing about
// one that was changed, or that inherited another value. (IPv6 is forwarded by the setting of all devices alone.)
import { carriesTraffic, defineCheck, incomingDevices } from "../check.ts";
import { setSysctl } from "../fix-step.ts";
import { deviceForwardingKeyOf, forwardingKeyOf } from "../host-facts.ts";

export const deviceSetting = defineCheck({
  name: "device-sysctl-off",
  severity: "error",
  needs: ["sysctls"],
  appliesTo: (context) => carriesTraffic(context) && context.families.has(4),
  check: (context, { sysctls }) =>
    // Off for all of them: that is another check's finding.
    sysctls.get(forwardingKeyOf(4)) === "0"
      ? []
      : incomingDevices(context).filter((device) => sysctls.get(deviceForwardingKeyOf(device)) === "0"),
  evidence: (device) =>
    `${device} does not forward IPv4 (net.ipv4.conf.${device.replaceAll(".", "/")}.forwarding = 0): the kernel drops packets ` +
    "of containers that arrive on it",
  remedy: (device) => `sysctl -w ${deviceForwardingKeyOf(device)}=1`,
  fix: (device) => [setSysctl(deviceForwardingKeyOf(device), "1")],
});
