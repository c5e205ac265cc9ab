// Rules of other programs as real tools write them, in every hook: which of flannel's packets they drop, by the kernel's own
// listing. What cannot be judged (a set, a match of iptables) is never called a drop.
import { afterEach, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import type { ScanContext } from "../../src/firewall/hook-packets.ts";
import { scanHooks } from "../../src/firewall/hook-scan.ts";
import { ruleNames } from "../../src/firewall/rule-set.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";

const context: ScanContext = {
  networks: [parsePrefix("10.5.0.0/16")],
  ownSubnets: [parsePrefix("10.5.61.0/24")],
  tunnel: { 4: "flannel.1" },
  inside: "cni0",
  outer: { device: "lo", udpPort: 8472, addresses: [parseAddress("192.168.50.12")] },
};

afterEach(async () => {
  await box.tryRun(["sh", "-c", "nft flush ruleset; iptables-legacy -P FORWARD ACCEPT; iptables-legacy -F"]);
});

async function drops(): Promise<string[]> {
  const found = await scanHooks(context, ruleNames(""));
  return found.map(({ chain, by, isCertain, isOfSingle }) => {
    return `${isCertain ? "drops" : "may drop"}${isOfSingle ? " some" : ""}: ${chain}, ${by}`;
  });
}

it.each([
  [
    "Docker 28's",
    "iptables -t raw -A PREROUTING -d 10.5.61.2 ! -i cni0 -j DROP",
    ['drops some: iptables-nft -t raw PREROUTING, rule "iifname != cni0 ip daddr 10.5.61.2 drop"'],
  ],
  [
    "the tunnel's port",
    "iptables -A INPUT -p udp --dport 8472 -j DROP",
    ['drops: iptables-nft INPUT, rule "udp dport 8472 drop"'],
  ],
  [
    "the tunnel's port, outgoing",
    "iptables -A OUTPUT -p udp --dport 8472 -j REJECT",
    ['drops: iptables-nft OUTPUT, rule "udp dport 8472 reject"'],
  ],
  ["another port", "iptables -A INPUT -p udp --dport 53 -j DROP; iptables -A FORWARD -p tcp --dport 22 -j DROP", []],
  [
    "the last hook",
    "iptables -t mangle -A POSTROUTING -o cni0 -j DROP",
    ['drops: iptables-nft -t mangle POSTROUTING, rule "oifname cni0 drop"'],
  ],
  [
    "the bridge",
    "ebtables -A OUTPUT -p IPv4 -j DROP",
    ['drops: nft chain bridge filter OUTPUT, rule "ether type ip drop"'],
  ],
  [
    "a device",
    "nft add table netdev t; nft 'add chain netdev t i {type filter hook ingress device lo priority 0;}'; nft add rule netdev t i udp dport 8472 drop",
    ['drops: nft chain netdev t i, rule "udp dport 8472 drop"'],
  ],
  ["a policy", "iptables -P FORWARD DROP", ["drops: iptables-nft FORWARD, policy DROP"]],
  [
    "a policy after an accept",
    "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -N F; iptables -A F -s 10.5.0.0/16 -m comment --comment x -j ACCEPT; iptables -A F -d 10.5.0.0/16 -j ACCEPT; iptables -A FORWARD -j F; iptables -P FORWARD DROP",
    [],
  ],
  [
    "a policy after what nobody can judge",
    "nft add table inet z; nft 'add chain inet z f {type filter hook forward priority 0; policy drop;}'; nft 'add set inet z s {type ipv4_addr; flags interval;}'; nft add rule inet z f ip saddr @s accept",
    ["may drop: nft chain inet z f, policy DROP"],
  ],
  [
    "a list of hostile hosts",
    "nft add table inet z; nft 'add chain inet z f {type filter hook prerouting priority 0;}'; nft 'add set inet z s {type ipv4_addr; flags interval;}'; nft add rule inet z f ip saddr @s drop; nft add rule inet z f ct state invalid drop; nft add rule inet z f fib saddr type local drop",
    [],
  ],
  [
    "replies are let in",
    'nft add table inet z; nft \'add chain inet z f {type filter hook forward priority 0;}\'; nft add rule inet z f ct state established,related accept; nft \'add rule inet z f iifname { "flannel.1", "eth7" } oifname "cni*" reject\'',
    ['drops: nft chain inet z f, rule "iifname … oifname cni* reject"'],
  ],
  [
    "one peer's subnet",
    "iptables -A FORWARD -s 10.5.70.0/24 -j DROP",
    ['drops some: iptables-nft FORWARD, rule "ip saddr 10.5.70.0/24 drop"'],
  ],
  [
    "legacy iptables",
    "iptables-legacy -A FORWARD -i flannel.1 -j DROP",
    ['drops: iptables-legacy FORWARD, rule "iifname flannel.1 drop"'],
  ],
  [
    "chains that jump in circles",
    "nft add table inet z; nft 'add chain inet z f {type filter hook forward priority 0; policy drop;}'; nft add chain inet z g; nft add rule inet z f jump g; nft add rule inet z g counter return",
    ["drops: nft chain inet z f, policy DROP"],
  ],
  ["nothing", "true", []],
])("%s", async (_, make, expected) => {
  await box.run(["sh", "-c", make]);
  expect(await drops()).toEqual(expected);
});
