// Counters that tell where packets get lost: of devices, and of the kernel as a whole.
import { readFileSync } from "node:fs";
import { readFileOrEmpty } from "../../../sys/files.ts";

const deviceNames = [
  "tx_packets",
  "rx_packets",
  "tx_errors",
  "tx_dropped",
  "tx_carrier_errors",
  "rx_errors",
  "rx_dropped",
];
/** Of /proc/net/snmp and netstat: what each says when it grows. */
const kernelNames: Readonly<Record<string, string>> = {
  "TcpExt.IPReversePathFilter": "packets whose source this host would reach by another device (rp_filter)",
  "Ip.InAddrErrors": "packets for an address that is not this host's",
  "Ip.OutNoRoutes": "packets without a route",
  "Ip.FragFails": "packets too large for the next device",
  "Ip.ReasmFails": "fragments that could not be put together",
  "Udp.NoPorts": "UDP packets to a port at which nobody listens",
  "Udp.RcvbufErrors": "UDP packets for which a socket had no room",
};

/** Of a device; undefined without the device. */
export function deviceCounters(device: string): Readonly<Record<string, number>> | undefined {
  try {
    return Object.fromEntries(
      deviceNames.map((name) => {
        const path = `/sys/class/net/${device.replaceAll("/", "")}/statistics/${name}`;
        return [name, Number(readFileSync(path, "utf8"))];
      }),
    );
  } catch {
    return undefined;
  }
}

/** By a text for people. */
export function countersOf(devices: readonly string[]): ReadonlyMap<string, number> {
  const counters = new Map<string, number>();
  for (const device of new Set(devices)) {
    for (const [name, value] of Object.entries(deviceCounters(device) ?? {})) {
      if (name !== "tx_packets" && name !== "rx_packets") counters.set(`${name} of ${device}`, value);
    }
  }
  for (const file of ["/proc/net/snmp", "/proc/net/netstat"]) {
    for (const [name, value] of kernelCounters(file)) {
      const meaning = kernelNames[name];
      if (meaning !== undefined) counters.set(`${name} (${meaning})`, value);
    }
  }
  for (const [, name = "", value] of readFileOrEmpty("/proc/net/xfrm_stat").matchAll(/^(\S+)\s+(\d+)$/gm)) {
    counters.set(`${name} (packets that policies or associations of IPsec refused)`, Number(value));
  }
  return counters;
}

export function grownCounters(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string[] {
  return [...after].flatMap(([name, value]) => {
    const growth = value - (before.get(name) ?? value);
    return growth > 0 ? [`${name} +${growth}`] : [];
  });
}

/** Two lines each: names, then values, both with a prefix (`TcpExt: …`). */
function* kernelCounters(file: string): Generator<readonly [string, number]> {
  let lines: readonly string[];
  try {
    lines = readFileSync(file, "utf8").split("\n");
  } catch {
    return;
  }
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const [prefix = "", ...names] = (lines[at] ?? "").split(" ");
    const [, ...values] = (lines[at + 1] ?? "").split(" ");
    for (const [index, name] of names.entries()) yield [`${prefix.replace(":", "")}.${name}`, Number(values[index])];
  }
}
