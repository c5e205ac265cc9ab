// Hosts in order that look odd: nothing that is done to host 2 here keeps a packet from flowing.

export interface OddHost {
  readonly what: string;
  /** On host 2. */
  readonly make: string;
  readonly undo: string;
  /** It changes what others stand on. */
  readonly isAlone?: true;
}

const lines = (...all: readonly string[]): string => all.join("; ");

export const oddHosts: readonly OddHost[] = [
  {
    what: "Docker with its chains, its bridge, and FORWARD policy DROP",
    make: lines(
      "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up",
      "iptables -P FORWARD DROP; iptables -N DOCKER; iptables -N DOCKER-USER; iptables -N DOCKER-FORWARD",
      "iptables -A DOCKER-USER -j RETURN; iptables -A DOCKER -i docker0 ! -o docker0 -j RETURN; iptables -A DOCKER ! -i docker0 -o docker0 -j DROP",
      "iptables -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A DOCKER-FORWARD -o docker0 -j DOCKER",
      "iptables -A DOCKER-FORWARD -i docker0 -j ACCEPT; iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD",
      "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
      "iptables -t raw -A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP",
    ),
    undo: lines(
      "iptables -P FORWARD ACCEPT; iptables -D FORWARD -j DOCKER-USER; iptables -D FORWARD -j DOCKER-FORWARD",
      "for c in DOCKER-FORWARD DOCKER-USER DOCKER; do iptables -F $c; done; for c in DOCKER-FORWARD DOCKER-USER DOCKER; do iptables -X $c; done",
      "iptables -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE; iptables -t raw -F PREROUTING; ip link del docker0",
    ),
  },
  {
    what: "a firewall like firewalld's, with flannel's devices let through",
    make: lines(
      "nft add table inet fw; nft 'add chain inet fw fwd {type filter hook forward priority filter + 10; policy accept;}'",
      "nft 'add rule inet fw fwd ct state established,related accept'; nft 'add rule inet fw fwd ct state invalid drop'",
      `nft 'add rule inet fw fwd iifname { "flannel.1", "cni0" } accept'; nft 'add rule inet fw fwd reject with icmpx admin-prohibited'`,
      "nft 'add chain inet fw inp {type filter hook input priority filter + 10; policy accept;}'; nft 'add rule inet fw inp ct state established,related accept'",
      "nft 'add rule inet fw inp iifname lo accept'; nft 'add rule inet fw inp meta l4proto { icmp, ipv6-icmp } accept'; nft 'add rule inet fw inp udp dport { 53, 8472 } accept'",
      "nft 'add rule inet fw inp tcp dport 22 accept'; nft 'add rule inet fw inp reject with icmpx admin-prohibited'",
    ),
    undo: "nft delete table inet fw",
  },
  {
    what: "a VPN with policy rules and a table of its own",
    make: lines(
      "ip tuntap add tun7 mode tun; ip addr add 100.64.0.7/32 dev tun7; ip link set tun7 up mtu 1280",
      "ip rule add fwmark 0x80000/0xff0000 lookup main pref 5210; ip rule add pref 5270 lookup 52; ip route add 100.64.0.0/10 dev tun7 table 52",
    ),
    undo: "ip rule del pref 5210; ip rule del pref 5270; ip link del tun7",
  },
  {
    what: "a table for replies of one address",
    make: "ip route add 192.168.50.0/24 dev eth0 table 100; ip route add default via 192.168.50.1 table 100; ip rule add from 192.168.50.12 lookup 100 pref 200",
    undo: "ip rule del pref 200; ip route flush table 100",
  },
  {
    what: "two default routes",
    make: "ip route add default via 192.168.50.11 dev eth0 metric 500",
    undo: "ip route del default via 192.168.50.11 dev eth0 metric 500",
  },
  {
    what: "a default route with two gateways",
    make: "ip route replace default nexthop via 192.168.50.1 dev eth0 nexthop via 192.168.50.11 dev eth0",
    undo: "ip route replace default via 192.168.50.1 dev eth0",
  },
  {
    what: "strict reverse path filtering, and packets that come in as they go out",
    make: "sysctl -qw net.ipv4.conf.all.rp_filter=1",
    undo: "sysctl -qw net.ipv4.conf.all.rp_filter=0",
  },
  {
    what: "secondary addresses, and one of a load balancer on lo",
    make: "ip addr add 192.168.50.112/24 dev eth0; ip addr add 203.0.113.10/32 dev lo",
    undo: "ip addr del 192.168.50.112/24 dev eth0; ip addr del 203.0.113.10/32 dev lo",
  },
  {
    what: "thousands of routes of a routing daemon",
    make: `i=0; while [ $i -lt 4000 ]; do echo "route add 172.$((16 + i / 256)).$((i % 256)).0/24 via 192.168.50.1 proto bird"; i=$((i + 1)); done | ip -batch -`,
    undo: "ip route flush proto bird",
  },
  {
    what: "a blackhole around all private addresses",
    make: "ip route add blackhole 10.0.0.0/8",
    undo: "ip route del blackhole 10.0.0.0/8",
  },
  {
    what: "another vxlan at the same port with another VNI",
    make: "ip link add vx99 type vxlan id 99 dstport 8472 dev eth0; ip link set vx99 up",
    undo: "ip link del vx99",
  },
  {
    what: "ARP settings of a load balancer (LVS)",
    make: "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
    undo: "sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0",
  },
  {
    what: "a bridge of virtual machines without any",
    make: "ip link add virbr0 type bridge; ip addr add 192.168.122.1/24 dev virbr0; ip link set virbr0 up",
    undo: "ip link del virbr0",
  },
  {
    what: "no forwarding on the external interface of a tunnel",
    make: "sysctl -qw net.ipv4.conf.eth0.forwarding=0",
    undo: "sysctl -qw net.ipv4.conf.eth0.forwarding=1",
  },
  {
    what: "INPUT policy DROP that lets in what is needed",
    make: lines(
      "iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; iptables -A INPUT -p icmp -j ACCEPT",
      "iptables -A INPUT -p udp --dport 8472 -j ACCEPT; iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -P INPUT DROP",
    ),
    undo: "iptables -P INPUT ACCEPT; iptables -F INPUT",
  },
  {
    what: "addresses that a guard against password guessing has shut out",
    make: lines(
      "nft add table inet f2b; nft 'add chain inet f2b c {type filter hook input priority filter - 1;}'; nft 'add set inet f2b s {type ipv4_addr; elements = {198.51.100.7, 203.0.113.66};}'",
      "nft 'add rule inet f2b c meta l4proto tcp ip saddr @s drop'",
    ),
    undo: "nft delete table inet f2b",
  },
  {
    what: "rules as kube-proxy writes them",
    make: lines(
      "iptables -N KUBE-FORWARD; iptables -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP; iptables -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
      "iptables -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -A FORWARD -j KUBE-FORWARD; iptables -t nat -N KUBE-POSTROUTING",
      "iptables -t nat -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN; iptables -t nat -A KUBE-POSTROUTING -j MASQUERADE; iptables -t nat -I POSTROUTING -j KUBE-POSTROUTING",
    ),
    undo: lines(
      "iptables -D FORWARD -j KUBE-FORWARD; iptables -F KUBE-FORWARD; iptables -X KUBE-FORWARD; iptables -t nat -D POSTROUTING -j KUBE-POSTROUTING",
      "iptables -t nat -F KUBE-POSTROUTING; iptables -t nat -X KUBE-POSTROUTING",
    ),
  },
  {
    what: "the tunnel's packets are not tracked",
    make: "iptables -t raw -A PREROUTING -p udp --dport 8472 -j NOTRACK; iptables -t raw -A OUTPUT -p udp --dport 8472 -j NOTRACK",
    undo: "iptables -t raw -F PREROUTING; iptables -t raw -F OUTPUT",
  },
  {
    what: "containers of another network, with their own bridge and namespace",
    make: lines(
      "ip link add podman1 type bridge; ip addr add 10.88.0.1/16 dev podman1; ip link set podman1 up; ip netns add odd-pod",
      "ip link add podv type veth peer name eth0 netns odd-pod; ip link set podv master podman1 up",
      "ip -n odd-pod addr add 10.88.0.2/16 dev eth0; ip -n odd-pod link set eth0 up; ip -n odd-pod route add default via 10.88.0.1",
    ),
    undo: "ip link del podv; ip netns del odd-pod; ip link del podman1",
  },
  {
    what: "IPv6 switched off in a network of IPv4",
    make: "sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
    undo: "sysctl -qw net.ipv6.conf.all.disable_ipv6=0",
  },
  {
    what: "an interface that nobody plugged in, and a queue discipline",
    make: "ip link add eth9 type veth peer name eth9x; ip link set eth9x up; tc qdisc replace dev eth0 root pfifo limit 500",
    undo: "ip link del eth9; tc qdisc del dev eth0 root",
  },
  {
    what: "a bridge over the external interface, which has its address now",
    make: lines(
      "ip link add br9 type bridge; ip link set br9 up; ip link set eth0 master br9; ip addr del 192.168.50.12/24 dev eth0",
      "ip addr add 192.168.50.12/24 dev br9; ip route add default via 192.168.50.1; ping -c1 -W2 192.168.50.1 >/dev/null",
    ),
    undo: "ip link del br9; ip addr add 192.168.50.12/24 dev eth0; ip route add default via 192.168.50.1",
    isAlone: true,
  },
  {
    what: "a pinned neighbour that is right",
    make: `ip neigh replace 192.168.50.11 lladdr $(ip -j neigh show 192.168.50.11 | sed 's/.*"lladdr":"\\([^"]*\\)".*/\\1/') nud permanent dev eth0`,
    undo: "ip neigh del 192.168.50.11 dev eth0",
  },
];

/** All of some that do not touch each other, at once. */
export function together(hosts: readonly OddHost[]): OddHost {
  return {
    what: hosts.map(({ what }) => what).join("; "),
    make: hosts.map(({ make }) => make).join("\n"),
    undo: hosts
      .toReversed()
      .map(({ undo }) => undo)
      .join("\n"),
  };
}
