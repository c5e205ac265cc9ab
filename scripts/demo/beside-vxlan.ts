// For comparison: the same two containers over the kernel's own vxlan, by hand, for as long as it is measured.
import type { Pod } from "../../lab/pod.ts";
import { measureThroughput } from "../../lab/probe.ts";

const device = "beside";
const underlayOverheadBytes = 50;

/** Bits per second of one TCP connection. Leaves both hosts as they were. */
export async function measureBesideVxlan(from: Pod, to: Pod, seconds: number): Promise<number> {
  const ends = [
    { pod: from, other: to, mac: "02:00:00:00:00:01", otherMac: "02:00:00:00:00:02" },
    { pod: to, other: from, mac: "02:00:00:00:00:02", otherMac: "02:00:00:00:00:01" },
  ];
  try {
    for (const { pod, other, mac, otherMac } of ends) {
      const { namespace, ipv4, mtuBytes } = pod.host;
      const gateway = "169.254.99.1";
      await namespace.ipBatch([
        `link add dev ${device} address ${mac} mtu ${mtuBytes - underlayOverheadBytes} type vxlan id 99 dev eth0 local ${ipv4} remote ${other.host.ipv4} dstport 4799 nolearning`,
        `link set dev ${device} up`,
        `neigh add ${gateway} lladdr ${otherMac} dev ${device} nud permanent`,
        `route add ${other.ipv4} via ${gateway} dev ${device} onlink`,
      ]);
    }
    return await measureThroughput(from, to, seconds);
  } finally {
    for (const { pod } of ends) {
      await pod.host.namespace.tryRun(["ip", "link", "del", "dev", device]);
      // The containers have learned the smaller MTU of that path.
      await pod.namespace.ip("route", "flush", "cache");
    }
  }
}
