// Whether another program holds the UDP port at which the kernel receives for the backend's device.
import { carriesTraffic, defineCheck } from "../check.ts";

export const portInUse = defineCheck({
  name: "vxlan-clash",
  severity: "error",
  needs: ["foreignUdpPorts"],
  appliesTo: (context) => carriesTraffic(context) && context.needs.kernelDevice !== undefined,
  check: ({ needs: { kernelDevice } }, { foreignUdpPorts }) => {
    const { kind, udpPort } = kernelDevice ?? {};
    return kind !== undefined && udpPort !== undefined && foreignUdpPorts.has(udpPort) ? [{ kind, udpPort }] : [];
  },
  evidence: ({ kind, udpPort }) =>
    `another program uses UDP port ${udpPort}, so the ${kind} device cannot receive packets`,
  remedy: ({ udpPort }) =>
    `ss -ulpn 'sport = :${udpPort}' # stop that program, or set another Backend.Port in the network config`,
});
