// Whether the external interface leaves room for the smallest packets that containers must be able to send.
import { carriesTraffic, defineCheck } from "../check.ts";

const MIN_IPV4_MTU_BYTES = 576;
const MIN_IPV6_MTU_BYTES = 1_280;

export const externalMtu = defineCheck({
  name: "external-mtu",
  severity: "error",
  needs: [],
  appliesTo: carriesTraffic,
  check: ({ families, overlayMtuBytes }) => {
    const needed = families.has(6) ? MIN_IPV6_MTU_BYTES : MIN_IPV4_MTU_BYTES;
    return overlayMtuBytes >= needed ? [] : [needed];
  },
  evidence: (needed, { families, externalInterface: { name, mtuBytes }, overlayMtuBytes }) =>
    `the MTU of ${name} is ${mtuBytes}, which leaves ${overlayMtuBytes} bytes for packets of containers; ` +
    `${families.has(6) ? "IPv6" : "IPv4"} needs ${needed}`,
  remedy: (needed, { externalInterface: { name, mtuBytes }, overlayMtuBytes }) =>
    `ip link set dev ${name} mtu ${needed + Math.max(0, mtuBytes - overlayMtuBytes)}`,
});
