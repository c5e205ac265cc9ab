// Whether strongSwan's charon, which the backend ipsec needs, is installed with all that this host needs of it.
import { defineCheck } from "../check.ts";

export const ipsecDaemon = defineCheck({
  name: "ipsec-daemon",
  severity: "error",
  needs: ["missingIpsec"],
  appliesTo: ({ needs }) => needs.ipsecDaemon === true,
  check: (_, { missingIpsec }) => (missingIpsec === undefined ? [] : [missingIpsec]),
  evidence: ({ what }) => `${what}: containers cannot reach other hosts`,
  remedy: ({ cure }) => cure,
});
