// Whether the kernel forwards packets of the families in use.
import { carriesTraffic, defineCheck } from "../check.ts";
import { forwardingKeyOf } from "../host-facts.ts";

export const ipForward = defineCheck({
  name: "ip-forward",
  severity: "error",
  needs: ["sysctls"],
  appliesTo: carriesTraffic,
  check: ({ families }, { sysctls }) =>
    [...families].sort().filter((family) => sysctls.get(forwardingKeyOf(family)) === "0"),
  evidence: (family) => `IPv${family} forwarding is off: this host drops packets from and to containers`,
  remedy: (family) => `sysctl -w ${forwardingKeyOf(family).replaceAll("/", ".")}=1`,
});
