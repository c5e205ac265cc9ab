// Whether the kernel forwards packets of the families in use.
import { type CheckContext, carriesTraffic, defineCheck, incomingDevices } from "../check.ts";
import { setSysctl } from "../fix-step.ts";
import { deviceForwardingKeyOf, forwardingKeyOf, type HostFacts } from "../host-facts.ts";

export const ipForward = defineCheck({
  name: "ip-forward-off",
  severity: "error",
  needs: ["sysctls"],
  appliesTo: carriesTraffic,
  check: (context, { sysctls }) =>
    [...context.families].sort().filter((family) => {
      if (sysctls.get(forwardingKeyOf(family)) !== "0") return false;
      return family === 6 || !forwardsByDevice(context, sysctls);
    }),
  evidence: (family) => `IPv${family} forwarding is off: this host drops packets from and to containers`,
  remedy: (family) => `sysctl -w ${forwardingKeyOf(family).replaceAll("/", ".")}=1`,
  fix: (family) => [setSysctl(forwardingKeyOf(family), "1")],
});

/** IPv4 is forwarded device by device: off for all, and on for those that matter, is a choice that works. */
function forwardsByDevice(context: CheckContext, sysctls: HostFacts["sysctls"]): boolean {
  const devices =
    (context.insideDevices ?? []).length === 0 ? [...incomingDevices(context), "default"] : incomingDevices(context);
  return devices.every((device) => sysctls.get(deviceForwardingKeyOf(device)) === "1");
}
