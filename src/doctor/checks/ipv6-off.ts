// Whether IPv6 is switched off on a device that carries packets of an IPv6 network.
import { carriesTraffic, defineCheck } from "../check.ts";
import { setSysctl } from "../fix-step.ts";
import { ipv6OffKeyOf } from "../host-facts.ts";

export const ipv6Off = defineCheck({
  name: "device-sysctl-off",
  severity: "error",
  needs: ["sysctls"],
  appliesTo: (context) => carriesTraffic(context) && context.families.has(6),
  check: ({ devices, insideDevices = [] }, { sysctls }) => {
    // Devices for IPv4 alone are not ours to judge.
    const ofIpv6 = devices.length > 1 ? devices.filter((device) => device.includes("v6")) : devices;
    return [...ofIpv6, ...insideDevices].filter((device) => sysctls.get(ipv6OffKeyOf(device)) === "1");
  },
  evidence: (device) => `IPv6 is off on ${device} (${ipv6OffKeyOf(device).replaceAll("/", ".")} = 1)`,
  remedy: (device) => `sysctl -w ${ipv6OffKeyOf(device)}=0`,
  fix: (device) => [setSysctl(ipv6OffKeyOf(device), "0")],
});
