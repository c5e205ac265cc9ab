// A box as a host with one external interface: eth0 with 192.168.50.11/24, whose other end is `lan`.
import { boxNamespace as box } from "../../lab/namespace.ts";

export async function makeVethHost(): Promise<void> {
  await box.ipBatch([
    "link add dev eth0 type veth peer name lan",
    "addr add 192.168.50.11/24 dev eth0",
    "link set dev lan up",
    "link set dev eth0 up",
  ]);
  await box.sysctl({ "net.ipv4.ip_forward": 1 });
}
