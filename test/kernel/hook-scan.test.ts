// Rules of other programs as real tools write them, in every hook: which of flannel's packets they drop, by the kernel's own
// listing. What cannot be judged is never called a drop, and rule sets of hosts in order give nothing.
import { afterEach, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import type { ScanContext, SinglePacket } from "../../src/firewall/hook-packets.ts";
import { HookScanner } from "../../src/firewall/hook-scanner.ts";
import { ruleNames } from "../../src/firewall/rule-set.ts";
import { type Address, parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { NfTablesMonitor } from "../../src/netlink/nftables/nf-tables-monitor.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";

const context: ScanContext = {
  networks: [parsePrefix("10.5.0.0/16"), parsePrefix("fd00:5::/48")],
  ownSubnets: [parsePrefix("10.5.61.0/24"), parsePrefix("fd00:5:0:61::/64")],
  tunnel: { 4: "flannel.1", 6: "flannel-v6.1" },
  inside: "cni0",
  outer: {
    ...{ device: "lo", udpPort: 8472, addresses: [parseAddress("192.168.50.12")] },
    peers: ["192.168.50.13", "192.168.50.14", "192.168.50.15"].map(parseAddress),
  },
};

afterEach(async () => {
  await box.tryRun([
    "sh",
    "-c",
    "nft flush ruleset; for t in iptables-legacy ip6tables-legacy; do $t -P FORWARD ACCEPT; $t -F; $t -X; $t -t raw -F; done",
  ]);
});

async function drops(scanner = new HookScanner(ruleNames(""), { withNat: true })): Promise<string[]> {
  const found = await scanner.drops(context);
  return found.map(({ chain, by, isCertain, isOfSingle, isRewrite }) => {
    const does = isRewrite ? "rewrites" : "drops";
    return `${isCertain ? does : "may drop"}${isOfSingle ? " some" : ""}: ${chain}, ${by}`;
  });
}

/** A chain of its own in table `inet z`, and rules in it. */
function nft(chain: string, ...rules: readonly string[]): string {
  return [
    "nft add table inet z",
    `nft 'add chain inet z f {${chain}}'`,
    ...rules.map((rule) => `nft '${rule.startsWith("add ") ? rule : `add rule inet z f ${rule}`}'`),
  ].join("\n");
}
const forward = "type filter hook forward priority 0;";
const inZ = (by: string, how = "drops") => [`${how}: nft chain inet z f, ${by}`];

it.each([
  [
    "a device",
    "nft add table netdev t; nft 'add chain netdev t i {type filter hook ingress device lo priority 0;}'; nft add rule netdev t i udp dport 8472 drop",
    ['drops: nft chain netdev t i, rule "udp dport 8472 drop"'],
  ],
  [
    "the bridge",
    "ebtables -A OUTPUT -p IPv4 -j DROP",
    ['drops: nft chain bridge filter OUTPUT, rule "ether type ip drop"'],
  ],
  [
    "replies are let in",
    nft(forward, "ct state established,related accept", 'iifname { "flannel.1", "eth7" } oifname "cni*" reject'),
    inZ('rule "iifname { eth7, flannel.1 } oifname cni* reject"'),
  ],
  ["connections that are open", nft(forward, "ct state established drop"), inZ('rule "ct state established drop"')],
  [
    "a list of hostile hosts",
    nft(
      "type filter hook prerouting priority 0;",
      ...["add set inet z s {type ipv4_addr; flags interval;}", "add element inet z s {198.51.100.0/24, 203.0.113.9}"],
      ...["add set inet z t {type ipv4_addr; flags timeout;}", "ip saddr @t drop", "ct state invalid drop"],
      ...["ip saddr @s drop", "fib saddr . iif oif missing drop", "fib daddr type { broadcast, multicast } drop"],
    ),
    [],
  ],
  [
    "a peer's address in a list",
    nft(
      "type filter hook input priority 0;",
      ...[
        "add set inet z s {type ipv4_addr; flags interval;}",
        "add element inet z s {192.168.50.14}",
        "ip saddr @s drop",
      ],
    ),
    inZ('rule "ip saddr @s drop"', "drops some"),
  ],
  [
    "a policy, and a list that lets all in",
    nft(
      "type filter hook input priority 0; policy drop;",
      ...[
        "add set inet z s {type ipv4_addr; flags interval;}",
        "add element inet z s {192.168.50.0/24}",
        "ip saddr @s accept",
      ],
      ...["add chain inet z g", "iif lo accept"],
    ),
    [],
  ],
  [
    "a policy after what nobody can judge",
    nft(
      `${forward} policy drop;`,
      "add set inet z s {type ipv4_addr; flags timeout;}",
      "ip saddr @s accept",
      "meta skuid 3 accept",
    ),
    inZ("policy DROP", "may drop"),
  ],
  [
    "a policy, and a list that is empty",
    nft(`${forward} policy drop;`, "add set inet z s {type ipv4_addr;}", "ip saddr @s accept"),
    inZ("policy DROP"),
  ],
  [
    "verdict maps, as those of kube-proxy and firewalld",
    nft(
      forward,
      ...["add chain inet z g", "add chain inet z h", "add rule inet z h drop"],
      ...["ct state vmap { established : accept, related : accept, new : jump g }"],
      "add rule inet z g meta l4proto . th dport vmap { tcp . 22 : drop, udp . 53 : drop }",
      'add rule inet z g iifname vmap { "eth0" : accept, "flannel.1" : goto h, "docker*" : accept }',
    ),
    inZ('rule "drop" in chain h'),
  ],
  [
    "chains of services that are not ours",
    nft(
      forward,
      ...[
        "add map inet z m {type ipv4_addr . inet_proto . inet_service : verdict;}",
        "add chain inet z r",
        "add rule inet z r reject",
      ],
      ...["add element inet z m {10.96.0.10 . tcp . 80 : goto r}", "ip daddr . meta l4proto . th dport vmap @m"],
      ...[
        "add set inet z a {type ipv4_addr . ipv4_addr; flags interval;}",
        "add element inet z a {10.96.0.0/16 . 10.0.0.0/8}",
      ],
      "ip saddr . ip daddr @a drop",
    ),
    [],
  ],
  [
    "a subnet of ours among fields with ranges",
    nft(
      forward,
      ...[
        "add set inet z a {type ipv4_addr . ipv4_addr; flags interval;}",
        "add element inet z a {10.0.0.0/8 . 10.5.61.0/24}",
      ],
      "ip saddr . ip daddr @a drop",
    ),
    inZ('rule "ip saddr . ip daddr @a drop"'),
  ],
  [
    "a range of addresses",
    nft(forward, "ip daddr 10.5.61.10-10.5.61.20 drop"),
    inZ('rule "ip daddr 10.5.61.10-10.5.61.20 drop"', "drops some"),
  ],
  ["IPv6", nft(forward, "ip6 saddr fd00:5:0:61::/64 drop"), inZ('rule "ip6 saddr fd00:5:0:61::/64 drop"')],
  ["a table that sleeps", `${nft(forward, "drop")}; nft 'add table inet z { flags dormant; }'`, []],
  [
    "chains that jump in circles",
    nft(`${forward} policy drop;`, "add chain inet z g", "jump g", "add rule inet z g counter return"),
    inZ("policy DROP"),
  ],
  [
    "nothing before connection tracking is new",
    nft("type filter hook prerouting priority -300;", "ct state invalid drop"),
    inZ('rule "ct state invalid drop"'),
  ],
  ["nothing", "true", []],
])("%s", async (_, make, expected) => {
  await box.run(["sh", "-c", `set -e\n${make}`]);
  expect(await drops()).toEqual(expected);
});

/** `DROP` stands for the program: both kernels' tables give the same, in the words of nft and of iptables. */
it.each([
  [
    "Docker 28's",
    "-t raw -A PREROUTING -d 10.5.61.2 ! -i cni0 -j DROP",
    ["drops some: DROP -t raw PREROUTING, iifname != cni0 ip daddr 10.5.61.2 drop|-d 10.5.61.2/32 ! -i cni0 -j DROP"],
  ],
  [
    "the tunnel's port",
    "-A INPUT -p udp --dport 8472 -j DROP",
    ["drops: DROP INPUT, udp dport 8472 drop|-p udp -m udp --dport 8472 -j DROP"],
  ],
  [
    "the tunnel's port, outgoing",
    "-A OUTPUT -p udp --dport 8472 -j DROP",
    ["drops: DROP OUTPUT, udp dport 8472 drop|-p udp -m udp --dport 8472 -j DROP"],
  ],
  [
    "other ports and protocols",
    "-A INPUT -p udp --dport 53 -j DROP; IPT -A FORWARD -p tcp --dport 22 -j DROP; IPT -A FORWARD -p icmp -j DROP; IPT -A INPUT -p udp -m multiport --dports 53,8000:8400 -j DROP",
    [],
  ],
  [
    "the last hook",
    "-t mangle -A POSTROUTING -o cni0 -j DROP",
    ["drops: DROP -t mangle POSTROUTING, oifname cni0 drop|-o cni0 -j DROP"],
  ],
  ["a policy", "-P FORWARD DROP", ["drops: DROP FORWARD, policy DROP"]],
  [
    "a policy after an accept",
    "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; IPT -N F; IPT -A F -s 10.5.0.0/16 -m comment --comment x -j ACCEPT; IPT -A F -d 10.5.0.0/16 -j ACCEPT; IPT -A FORWARD -j F; IPT -P FORWARD DROP",
    [],
  ],
  [
    "a state",
    "-A FORWARD -m conntrack --ctstate NEW -j DROP",
    ["drops: DROP FORWARD, ct state new drop|-m conntrack --ctstate NEW -j DROP"],
  ],
  [
    "a mark that a chain before it sets",
    "-t mangle -A PREROUTING -i flannel.1 -j MARK --set-mark 0x7; IPT -A FORWARD -m mark --mark 0x7 -j DROP; IPT -A FORWARD -m mark --mark 0x8 -j DROP",
    ["drops: DROP FORWARD, meta mark 0x00000007 drop|-m mark --mark 0x7 -j DROP"],
  ],
  [
    "one peer's subnet",
    "-A FORWARD -s 10.5.70.0/24 -j DROP",
    ["drops some: DROP FORWARD, ip saddr 10.5.70.0/24 drop|-s 10.5.70.0/24 -j DROP"],
  ],
  [
    "one container, in a chain of its own",
    "-N X; IPT -A FORWARD -d 10.5.61.7 -j X; IPT -A FORWARD -d 10.5.61.8 -j ACCEPT; IPT -A X -d 10.5.61.9 -j ACCEPT; IPT -A X -j DROP",
    ["drops some: DROP FORWARD, drop|-j DROP in chain X"],
  ],
  [
    "network policies of single containers",
    "-N KUBE-POD-FW-A; IPT -A FORWARD -d 10.5.61.7 -j KUBE-POD-FW-A; IPT -A KUBE-POD-FW-A -m mark ! --mark 0x10000/0x10000 -j DROP",
    [],
  ],
  [
    "kube-proxy, Docker, fail2ban and ufw at work",
    [
      "-N KUBE-FORWARD; IPT -A FORWARD -j KUBE-FORWARD; IPT -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
      "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT; IPT -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
      "-N KUBE-FIREWALL; IPT -A INPUT -j KUBE-FIREWALL; IPT -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
      "-N DOCKER; IPT -A FORWARD -o docker0 -j DOCKER; IPT -A DOCKER ! -i docker0 -o docker0 -j DROP; IPT -A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
      "-N f2b; IPT -A INPUT -p tcp -m multiport --dports 22 -j f2b; IPT -A f2b -s 198.51.100.7 -j REJECT; IPT -A f2b -j RETURN",
      "-N ufw; IPT -A INPUT -j ufw; IPT -A ufw -m addrtype --dst-type LOCAL -j RETURN; IPT -A ufw -m limit --limit 3/min -j LOG; IPT -A ufw -j DROP",
      "-t raw -A PREROUTING -d 172.17.0.2 ! -i docker0 -j DROP; IPT -t raw -A PREROUTING -d 127.0.0.1 -p tcp --dport 8080 ! -i lo -j DROP",
    ].join("; IPT "),
    [],
  ],
])("in nf_tables and in legacy iptables: %s", async (_, make, expected) => {
  for (const [position, program] of ["iptables-nft", "iptables-legacy"].entries()) {
    await box.run(["sh", "-c", `set -e; IPT ${make}`.replaceAll("IPT ", `${program} `)]);
    const told = expected.map((line) =>
      line
        .replace("DROP ", `${program} `)
        .replace(/, ([^|]*)\|(.*?)( in chain .*)?$/, (_match, ofNft: string, ofIptables: string, where = "") => {
          return `, rule "${position === 0 ? ofNft : ofIptables}"${where}`;
        }),
    );
    const found = await drops();
    const undo = "IPT -F; IPT -X; IPT -P FORWARD ACCEPT; IPT -t raw -F; IPT -t mangle -F";
    await box.run(["sh", "-c", undo.replaceAll("IPT", program)]);
    expect(found).toEqual(told);
  }
});

it.each([
  [
    "the tunnel's port",
    "-A PREROUTING -p udp --dport 8472 -j REDIRECT --to-ports 9999",
    "rewrites: PROGRAM -t nat PREROUTING",
  ],
  [
    "the tunnel's packets that leave",
    "-A OUTPUT -p udp --dport 8472 -d 192.168.50.0/24 -j DNAT --to-destination 192.0.2.1",
    "rewrites: PROGRAM -t nat OUTPUT",
  ],
  [
    "packets between containers, in a chain of its own",
    "-N X; IPT -A PREROUTING -i cni0 -j X; IPT -A X -d 10.5.0.0/16 -j DNAT --to-destination 192.0.2.1",
    "rewrites: PROGRAM -t nat PREROUTING",
  ],
  [
    "one container",
    "-A PREROUTING -d 10.5.61.2 -j DNAT --to-destination 192.0.2.1",
    "rewrites some: PROGRAM -t nat PREROUTING",
  ],
  [
    "none of ours: kube-proxy, Docker and ports of containers at work",
    [
      "-N KUBE-SERVICES; IPT -A PREROUTING -j KUBE-SERVICES; IPT -A OUTPUT -j KUBE-SERVICES; IPT -N KUBE-SVC-A; IPT -N KUBE-SEP-A",
      "-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m udp --dport 53 -j KUBE-SVC-A; IPT -N KUBE-NODEPORTS",
      "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS; IPT -A KUBE-NODEPORTS -p tcp --dport 30080 -j KUBE-SVC-A",
      "-A KUBE-SVC-A -m statistic --mode random --probability 0.5 -j KUBE-SEP-A; IPT -A KUBE-SVC-A -j KUBE-SEP-A",
      "-A KUBE-SEP-A -s 10.5.61.7/32 -j MARK --set-xmark 0x4000/0x4000; IPT -A KUBE-SEP-A -p udp -j DNAT --to-destination 10.5.61.7:53",
      "-N DOCKER; IPT -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; IPT -A DOCKER -i docker0 -j RETURN",
      "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
      "-N CNI-HOSTPORT-DNAT; IPT -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
      "-A CNI-HOSTPORT-DNAT -p udp -m multiport --dports 53 -j DNAT --to-destination 10.5.61.7:53",
      "-A POSTROUTING -s 10.5.61.0/24 ! -d 10.5.0.0/16 -j MASQUERADE; IPT -A PREROUTING -d 169.254.169.254 -j DNAT --to-destination 192.0.2.1",
    ].join("; IPT "),
    undefined,
  ],
])("another destination, in nf_tables and in legacy iptables: %s", async (_, make, expected) => {
  for (const program of ["iptables-nft", "iptables-legacy"]) {
    await box.run(["sh", "-ec", `IPT ${make}`.replaceAll("IPT ", `${program} -t nat `)]);
    const found = await drops();
    await box.run(["sh", "-c", `${program} -t nat -F; ${program} -t nat -X`]);
    expect(found.map((line) => line.replace(/, rule .*/, ""))).toEqual(
      expected === undefined ? [] : [expected.replace("PROGRAM", program)],
    );
  }
});

it("another destination, by nft itself; an agent does not look for it", async () => {
  await box.run(["sh", "-ec", nft("type nat hook prerouting priority -100;", "udp dport 8472 redirect to :9999")]);
  expect(await drops()).toEqual([
    expect.stringMatching(/^rewrites: nft chain inet z f, rule "udp dport 8472 redirect/),
  ]);
  expect(await drops(new HookScanner(ruleNames("")))).toEqual([]);
});

it("says of any packet what drops it", async () => {
  await box.run([
    "sh",
    "-c",
    "iptables -A INPUT -p icmp -s 192.0.2.7 -j DROP; iptables -A FORWARD -p tcp --dport 443 -j REJECT",
  ]);
  const scanner = new HookScanner(ruleNames(""));
  const ask = async (packet: Pick<SinglePacket, "way" | "protocol" | "destinationPort">, source: string) => {
    const [from, destination] = [source, "10.5.61.9"].map(parseAddress) as [Address, Address];
    const found = await scanner.dropsOf(
      { ...packet, source: from, destination, incoming: "eth0", outgoing: "" },
      context,
    );
    return found.map(({ chain, by }) => `${chain} ${by}`);
  };
  expect(await ask({ way: "received", protocol: "icmp" }, "192.0.2.7")).toEqual([
    'iptables-nft INPUT rule "meta l4proto icmp ip saddr 192.0.2.7 drop"',
  ]);
  expect(await ask({ way: "received", protocol: "icmp" }, "192.0.2.8")).toEqual([]);
  expect(await ask({ way: "received", protocol: "udp" }, "192.0.2.7")).toEqual([]);
  const forwarded = await ask({ way: "forwarded", protocol: "tcp", destinationPort: 443 }, "192.0.2.7");
  expect(forwarded).toEqual([expect.stringContaining("iptables-nft FORWARD rule")]);
  expect(await ask({ way: "forwarded", protocol: "tcp", destinationPort: 80 }, "192.0.2.7")).toEqual([]);
});

it.each([
  ["no rule", "true", true],
  ["a rule for others", nft(forward, "ip saddr 192.0.2.8 drop"), true],
  ["a rule that lets pass what nobody can judge", nft(forward, "limit rate 3/second accept"), true],
  ["a rule that drops it", nft(forward, "ip saddr 192.0.2.7 drop"), false],
  [
    "a set that changes by itself",
    nft(forward, "add set inet z s {type ipv4_addr; flags timeout;}", "ip saddr @s drop"),
    false,
  ],
  ["a mark that nobody knows", nft(forward, "meta mark set ct mark", "meta mark & 0x10000 != 0x10000 reject"), false],
  ["a program that gets the packets", "iptables -A FORWARD -j NFQUEUE --queue-num 3", false],
  ["a program that gets the packets, by iptables-legacy", "iptables-legacy -A FORWARD -j NFQUEUE --queue-num 3", false],
  ["a chain for what nobody can judge", nft(forward, "add chain inet z g", "ct mark 5 jump g"), false],
  ["a kind of echo, by iptables", "iptables-legacy -A FORWARD -p icmp --icmp-type 8 -j DROP", false],
  ["a rule after one that nobody can judge", nft(`${forward} policy drop;`, "ct mark 5 accept"), false],
])("says whether an echo surely passes: %s", async (_, make, expected) => {
  await box.run(["sh", "-ec", make]);
  const [source, destination] = ["192.0.2.7", "10.5.61.9"].map(parseAddress) as [Address, Address];
  const ends = { source, destination, incoming: "cni0", outgoing: "flannel.1" };
  const passes = new HookScanner(ruleNames("")).surelyPasses({ ...ends, protocol: "icmp", way: "forwarded" });
  expect(await passes).toBe(expected);
});

it("looks again only after a change that may concern packets of ours", async () => {
  const rules = Array.from({ length: 2_000 }, (_, at) => `-A K -d 10.96.${at >> 8}.${at & 255}/32 -p tcp -j REJECT`);
  const text = ["*filter", ":K - [0:0]", "-A FORWARD -j K", ...rules, "COMMIT", "*nat", ":N - [0:0]", "COMMIT", ""];
  await box.run(["iptables-restore", "--noflush"], { input: text.join("\n") });
  const scanner = new HookScanner(ruleNames(""));
  let commits = 0;
  const heard = Promise.withResolvers<void>();
  using _following = new NfTablesMonitor().follow({
    interestIn: (touch, notice) => scanner.touch(touch, notice),
    onCommit: () => void (++commits === 5 && heard.resolve()),
    onOverflow: () => scanner.touchAll(),
    logger: silentLogger,
  });
  scanner.isWatched = true;
  const first = await scanner.drops(context);
  expect(first).toEqual([]);
  const change = (command: string) => box.run(["sh", "-c", command]);
  await change("iptables -A K -d 10.97.0.1 -j DROP; iptables -D K 7; iptables -t nat -A N -d 10.5.61.2 -j RETURN");
  await change("iptables -A K -s 10.5.61.2 -j LOG; iptables -N M; iptables -A M -j DROP");
  await heard.promise;
  expect(await scanner.drops(context)).toBe(first);
  await change("iptables -A K -d 10.5.61.2 -j DROP");
  await until(async () => (await drops(scanner)).length > 0, { what: "the rule that drops" });
  expect(await drops(scanner)).toEqual(['drops some: iptables-nft FORWARD, rule "ip daddr 10.5.61.2 drop" in chain K']);
  await change("iptables -D K -d 10.5.61.2 -j DROP");
  await until(async () => (await drops(scanner)).length === 0, { what: "the end of it" });
});
