// What the rules of this host do to packets on the way to one address and back, and to the tunnel's packets around them: every
// chain in every hook, also of legacy iptables, which the kernel's own trace does not see.
import type { DesiredWay } from "../../../agent/control/trace-protocol.ts";
import type { ScanContext, SinglePacket } from "../../../firewall/hook-packets.ts";
import type { HookScanner } from "../../../firewall/hook-scanner.ts";
import type { PacketDrop } from "../../../firewall/packet-drop.ts";
import { type Address, familyOf, type Prefix, tryParseAddress } from "../../../ip/address.ts";
import type { KernelWay } from "./kernel-way.ts";
import type { TraceLine } from "./trace-line.ts";

interface Question {
  readonly what: string;
  readonly packet: SinglePacket;
}

/** Throws when the rules cannot be read. */
export async function rulesOnWay(
  scanner: HookScanner,
  desired: DesiredWay,
  way: KernelWay,
  address: Address,
): Promise<TraceLine[]> {
  const questions = questionsOf(desired, way, address);
  if (questions.length === 0) return [];
  const family = familyOf(address);
  const context: ScanContext = {
    networks: desired.networks as Prefix[],
    ownSubnets: desired.ownSubnets as Prefix[],
    tunnel: way.outDevice === undefined ? {} : { [family]: way.outDevice },
    inside: way.inside?.device,
  };
  const lines: TraceLine[] = [];
  const accepted: string[] = [];
  for (const { what, packet } of questions) {
    const drops = await scanner.dropsOf(packet, context);
    if (drops.length === 0) accepted.push(what);
    for (const drop of drops) lines.push(dropLine(what, drop));
  }
  if (accepted.length > 0) {
    lines.push({ station: "rules", text: `no rule of others drops packets ${accepted.join(", ")}`, verdict: "ok" });
  }
  return lines;
}

function dropLine(what: string, { chain, by, isCertain, isRewrite, cure }: PacketDrop): TraceLine {
  const does = isRewrite ? "gives another destination to" : "drops";
  return {
    station: "rules",
    text: `${chain}: ${by} ${does} packets ${what}${isCertain ? "" : ", unless a rule before it lets them pass"}`,
    verdict: isCertain ? "bad" : "unknown",
    remedy: cure,
  };
}

function questionsOf(desired: DesiredWay, way: KernelWay, address: Address): Question[] {
  const { inside, outDevice, outside } = way;
  const questions: Question[] = [];
  if (inside !== undefined && outDevice !== undefined && desired.place === "peer") {
    const ends = [inside.container, inside.device, outDevice] as const;
    const [container, bridge, tunnel] = ends;
    const common = { protocol: "tcp", way: "forwarded" } as const;
    questions.push(
      {
        what: `from ${bridge} to ${tunnel}`,
        packet: { ...common, source: container, destination: address, incoming: bridge, outgoing: tunnel },
      },
      {
        what: `from ${tunnel} to ${bridge}`,
        packet: { ...common, source: address, destination: container, incoming: tunnel, outgoing: bridge },
      },
    );
  }
  if (desired.place === "peer" && outside !== undefined && desired.outside?.protocol === "udp") {
    const { address: host, device } = outside;
    const own = ownAddress(desired, host);
    const { port: theirs } = desired.outside;
    const { ownUdpPort: ours } = desired;
    if (own !== undefined && theirs !== undefined) {
      const packet = { source: own, destination: host, incoming: "", outgoing: device, destinationPort: theirs };
      questions.push({ what: `of the tunnel out by ${device}`, packet: { ...packet, protocol: "udp", way: "sent" } });
    }
    if (own !== undefined && ours !== undefined) {
      const packet = { source: host, destination: own, incoming: device, outgoing: "", destinationPort: ours };
      questions.push({
        what: `of the tunnel in by ${device}`,
        packet: { ...packet, protocol: "udp", way: "received" },
      });
    }
  }
  return questions;
}

/** Of the family of the peer's host. */
function ownAddress({ externalInterface }: DesiredWay, host: Address): Address | undefined {
  const text = familyOf(host) === 6 ? externalInterface?.ipv6Address : externalInterface?.address;
  return text === undefined ? undefined : tryParseAddress(text);
}
