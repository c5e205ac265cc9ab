// Troubles that are made on the stage for `flannelctl doctor`, each with the cause that it has to name.

export interface Trouble {
  readonly code: string;
  readonly make: string;
  readonly undo: string;
  /** Default 2; 0 is the LAN. */
  readonly at?: number;
  /** Whose doctor; default 2. */
  readonly asked?: number;
  readonly seen?: RegExp;
  /** Further words for the doctor. */
  readonly words?: readonly string[];
  /** What has to be so before the doctor is asked: a state that the probes of the asked host's agent have for its peer. */
  readonly probes?: string;
  /** How long that has lasted; default 0. */
  readonly probesForMs?: number;
  /** Only begun when probes of the asked host's agent find nothing any more. */
  readonly fromUp?: true;
  /** Another one tells nearly the same: only in the long tests. */
  readonly isLong?: true;
}

/** Packets between the hosts go through a router with a leg of 1,300 bytes. */
const smallPath =
  "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.lan0.send_redirects=0; ip route add 192.168.50.11/32 dev lan0 mtu lock 1300; ip route add 192.168.50.12/32 dev lan0 mtu lock 1300; ip -n h1 route add 192.168.50.12/32 via 192.168.50.1; ip -n h2 route add 192.168.50.11/32 via 192.168.50.1";
const noSmallPath =
  "ip -n h1 route del 192.168.50.12/32 via 192.168.50.1; ip -n h2 route del 192.168.50.11/32 via 192.168.50.1; ip route del 192.168.50.11/32; ip route del 192.168.50.12/32";

export const troubles: readonly Trouble[] = [
  // First: what probes say of the peer takes a while to be as before.
  {
    code: "peer-unreachable",
    make: "nft add table bridge z; nft 'add chain bridge z f {type filter hook forward priority 0;}'; nft add rule bridge z f udp dport 8472 drop",
    undo: "nft delete table bridge z",
    at: 0,
    asked: 1,
    fromUp: true,
  },
  {
    code: "underlay-oneway",
    make: "nft add table bridge z; nft 'add chain bridge z f {type filter hook forward priority 0;}'; nft add rule bridge z f iifname h1 oifname h2 udp dport 8472 drop",
    undo: "nft delete table bridge z",
    at: 0,
    asked: 1,
    probes: "oneWay",
    probesForMs: 10_000,
    fromUp: true,
    seen: /does not arrive there/,
  },
  { code: "ip-forward-off", make: "sysctl -qw net.ipv4.ip_forward=0", undo: "sysctl -qw net.ipv4.ip_forward=1" },
  {
    code: "device-sysctl-off",
    make: "sysctl -qw net.ipv4.conf.cni0.forwarding=0",
    undo: "sysctl -qw net.ipv4.conf.cni0.forwarding=1",
  },
  {
    code: "port-drop",
    make: "iptables -A INPUT -p udp --dport 8472 -j DROP",
    undo: "iptables -F INPUT",
    seen: /iptables-nft INPUT drops the tunnel's packets/,
  },
  {
    code: "port-drop",
    isLong: true,
    make: "iptables -A OUTPUT -p udp --dport 8472 -j REJECT",
    undo: "iptables -F OUTPUT",
    asked: 1,
    at: 1,
  },
  {
    code: "forward-drop",
    make: "nft add table inet z; nft 'add chain inet z f {type filter hook forward priority 0; policy drop;}'",
    undo: "nft delete table inet z",
  },
  {
    code: "docker28-raw-drop",
    make: "iptables -t raw -A PREROUTING -d POD2 ! -i cni0 -j DROP",
    undo: "iptables -t raw -F PREROUTING",
  },
  {
    code: "early-drop",
    make: "nft add table netdev t; nft 'add chain netdev t i {type filter hook ingress device eth0 priority 0;}'; nft add rule netdev t i udp dport 8472 drop",
    undo: "nft delete table netdev t",
  },
  { code: "bridge-drop", make: "ebtables -A OUTPUT -p IPv4 -j DROP", undo: "ebtables -F OUTPUT" },
  {
    code: "bridge-drop",
    isLong: true,
    make: "iptables -t mangle -A POSTROUTING -o cni0 -j DROP",
    undo: "iptables -t mangle -F POSTROUTING",
  },
  {
    code: "masquerade-wrong",
    make: "iptables -t nat -I POSTROUTING -j MASQUERADE",
    undo: "iptables -t nat -D POSTROUTING -j MASQUERADE",
  },
  { code: "icmp-filtered", make: "iptables -I INPUT -p icmp -j DROP", undo: "iptables -F INPUT" },
  {
    code: "icmp-filtered",
    isLong: true,
    make: "sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
    undo: "sysctl -qw net.ipv4.icmp_echo_ignore_all=0",
  },
  { code: "underlay-down", make: "ip link set h2 down", undo: "ip link set h2 up", at: 0 },
  { code: "underlay-down", make: "ip link set h2 down", undo: "ip link set h2 up", at: 0, asked: 1 },
  {
    code: "underlay-lossy",
    make: "nft add table bridge z; nft 'add chain bridge z f {type filter hook forward priority 0;}'; nft add rule bridge z f iifname h2 oifname h1 icmp type echo-request numgen inc mod 2 == 0 drop",
    undo: "nft delete table bridge z",
    at: 0,
  },
  {
    code: "mtu-path-smaller",
    make: smallPath,
    undo: noSmallPath,
    at: 0,
    seen: /the path carries 1300/,
  },
  {
    code: "fragments-dropped",
    make: `${smallPath}; nft add table bridge z; nft 'add chain bridge z o {type filter hook output priority 0;}'; nft add rule bridge z o ether type ip ip frag-off '&' 0x3fff != 0 drop`,
    undo: `${noSmallPath}; nft delete table bridge z`,
    at: 0,
  },
  {
    // Nothing but the way of an echo tells it: no rule drops anything.
    code: "lost-on-this-host",
    make: "tc qdisc replace dev pod0 root blackhole",
    undo: "tc qdisc del dev pod0 root",
    seen: /leave by cni0 and do not leave by pod0/,
  },
  {
    code: "lost-on-this-host",
    make: "ip xfrm policy add src 10.5.0.0/16 dst 10.5.0.0/16 dir fwd action block",
    undo: "ip xfrm policy flush",
    seen: /come in by cni0 and do not leave by flannel\.1.*Xfrm\w+PolBlock/,
  },
  {
    code: "lost-on-this-host",
    isLong: true,
    make: "tc qdisc replace dev flannel.1 root blackhole",
    undo: "tc qdisc del dev flannel.1 root",
    seen: /do not leave by flannel\.1/,
  },
  {
    code: "lost-on-this-host",
    isLong: true,
    make: "iptables -t mangle -A PREROUTING -i flannel.1 -j TTL --ttl-set 1",
    undo: "iptables -t mangle -F PREROUTING",
    seen: /come in by flannel\.1 and do not leave by cni0/,
  },
  {
    code: "destination-rewritten",
    make: "iptables -t nat -I PREROUTING -i cni0 -d 10.5.0.0/16 -j DNAT --to-destination 192.168.50.1",
    undo: "iptables -t nat -D PREROUTING -i cni0 -d 10.5.0.0/16 -j DNAT --to-destination 192.168.50.1",
    seen: /nat PREROUTING gives another destination to packets from containers of this host to peers/,
  },
  {
    code: "destination-rewritten",
    isLong: true,
    make: "iptables -t nat -I PREROUTING -p udp --dport 8472 -j REDIRECT --to-ports 9999; conntrack -D -p udp >/dev/null 2>&1; true",
    undo: "iptables -t nat -D PREROUTING -p udp --dport 8472 -j REDIRECT --to-ports 9999; conntrack -D -p udp >/dev/null 2>&1; true",
    seen: /nat PREROUTING gives another destination to the tunnel's packets from peers/,
  },
  {
    code: "lost-on-this-host",
    isLong: true,
    make: "bridge fdb show br cni0 | awk '/dev pod0/ && !/permanent/ {print $1; exit}' >/run/pod-mac; bridge fdb replace $(cat /run/pod-mac) dev cni0 self permanent",
    undo: "bridge fdb del $(cat /run/pod-mac) dev cni0 self",
    seen: /leave by cni0 and do not leave by pod0/,
  },
  {
    code: "early-drop",
    isLong: true,
    make: "tc qdisc replace dev eth0 root blackhole",
    undo: "tc qdisc del dev eth0 root",
    at: 1,
    asked: 1,
    seen: /do not leave this host/,
  },
  {
    code: "neighbour-wrong",
    isLong: true,
    make: "ip neigh replace POD2 lladdr 02:00:00:00:00:55 nud permanent dev cni0",
    undo: "ip neigh del POD2 dev cni0",
    seen: /its interface has/,
  },
  {
    code: "bridge-mtu",
    isLong: true,
    make: "ip link set pod0 mtu 576",
    undo: "ip link set pod0 mtu 1450",
  },
  {
    code: "port-detached",
    isLong: true,
    make: "ip link set cni0 down",
    undo: "ip link set cni0 up",
    seen: /the bridge cni0 is down/,
  },
  {
    code: "interface-moved",
    isLong: true,
    make: "ip netns add other; ip -n h2 link set eth0 netns other",
    undo: "ip -n other link set eth0 netns h2; ip -n h2 addr add 192.168.50.12/24 dev eth0; ip -n h2 link set eth0 up; ip -n h2 route add default via 192.168.50.1; ip netns del other",
    at: 0,
    seen: /is on no interface any more \(it was on eth0\)/,
  },
  {
    code: "policy-rule",
    make: "ip rule add pref 50 ipproto udp dport 8472 blackhole",
    undo: "ip rule del pref 50",
    seen: /for the tunnel's packets/,
  },
  {
    code: "process-limits",
    make: "prlimit --pid PID2 --nofile -o SOFT --noheadings >/run/soft; prlimit --pid PID2 --nofile=$(($(ls /proc/PID2/fd | wc -l) * 118 / 100)):",
    undo: "prlimit --pid PID2 --nofile=$(cat /run/soft):",
  },
  {
    // In the box's own mounts: the agent goes on with the directory below.
    code: "disk-full",
    make: "cp -a DIRECTORY2/state DIRECTORY2/copy; mount -t tmpfs -o size=256k none DIRECTORY2/state; cp -a DIRECTORY2/copy/. DIRECTORY2/state/; rm -r DIRECTORY2/copy; cat /dev/zero >DIRECTORY2/state/fill 2>/dev/null || true",
    undo: "umount DIRECTORY2/state",
    at: 0,
  },
  {
    code: "cni-config",
    make: `mount -t tmpfs none /etc/cni; mkdir /etc/cni/net.d; echo '{"name":"other","plugins":[{"type":"weave-net"}]}' >/etc/cni/net.d/05-other.conflist; echo '{"name":"cbr0","plugins":[{"type":"flannel"}]}' >/etc/cni/net.d/10-flannel.conflist`,
    undo: "umount /etc/cni",
    at: 0,
  },
  {
    code: "underlay-no-route",
    make: "ip route add unreachable 192.168.50.12/32",
    undo: "ip route del unreachable 192.168.50.12/32",
    at: 1,
    asked: 1,
  },
  {
    code: "neighbour-wrong",
    make: "ip neigh replace 192.168.50.12 lladdr 02:00:00:00:00:99 nud permanent dev eth0",
    undo: "ip neigh del 192.168.50.12 dev eth0",
    at: 1,
    asked: 1,
  },
  {
    code: "neighbour-wrong",
    isLong: true,
    make: "sysctl -qw net.ipv4.conf.all.arp_ignore=8",
    undo: "sysctl -qw net.ipv4.conf.all.arp_ignore=0",
  },
  {
    code: "neighbour-wrong",
    make: "ip link set eth0 arp off",
    undo: "ip link set eth0 arp on",
    seen: /^eth0, behind which hosts of peers are, neither asks nor answers ARP/,
  },
  {
    code: "neighbour-wrong",
    isLong: true,
    make: "ip link set cni0 arp off",
    undo: "ip link set cni0 arp on",
    seen: /^cni0, behind which containers are, neither asks/,
  },
  {
    code: "address-duplicate",
    make: "ip addr add 192.168.50.12/24 dev lan0",
    undo: "ip addr del 192.168.50.12/24 dev lan0",
    at: 0,
  },
  {
    code: "address-floating",
    make: "ip addr add 192.168.50.99/24 dev eth0; ip addr change 192.168.50.12/24 dev eth0 preferred_lft 0",
    undo: "ip addr change 192.168.50.12/24 dev eth0 preferred_lft forever; ip addr del 192.168.50.99/24 dev eth0",
  },
  {
    code: "policy-rule",
    isLong: true,
    make: "ip rule add pref 100 to 10.5.0.0/16 prohibit",
    undo: "ip rule del pref 100",
  },
  {
    code: "policy-rule",
    make: "ip rule add pref 5270 lookup 52; ip route add 10.0.0.0/8 dev eth0 table 52",
    undo: "ip rule del pref 5270; ip route flush table 52",
  },
  {
    code: "policy-rule",
    make: "ip rule add pref 100 iif cni0 to 10.5.0.0/16 prohibit",
    undo: "ip rule del pref 100",
  },
  {
    code: "route-more-specific",
    make: "ip route add unreachable POD2/32",
    undo: "ip route del unreachable POD2/32",
    at: 1,
    asked: 1,
  },
  {
    code: "network-overlap",
    make: "ip link add d0 type bridge; ip addr add 10.5.99.1/24 dev d0; ip link set d0 up",
    undo: "ip link del d0",
  },
  {
    code: "bridge-address-stale",
    make: "ip addr del BRIDGE2/24 dev cni0; ip addr add 10.9.9.1/24 dev cni0",
    undo: "ip addr del 10.9.9.1/24 dev cni0; ip addr add BRIDGE2/24 dev cni0",
  },
  { code: "port-detached", make: "ip link set pod0 nomaster", undo: "ip link set pod0 master cni0" },
  {
    code: "port-detached",
    make: "ip -n h2-pod link set eth0 down",
    undo: "ip -n h2-pod link set eth0 up; ip -n h2-pod route add default via BRIDGE2",
    at: 0,
  },
  {
    code: "container-route",
    isLong: true,
    make: "ip -n h2-pod route del default",
    undo: "ip -n h2-pod route add default via BRIDGE2",
    at: 0,
  },
  {
    code: "container-route",
    make: "ip -n h2-pod addr del POD2/24 dev eth0; ip -n h2-pod addr add POD2/16 dev eth0; ip -n h2-pod route add default via BRIDGE2",
    undo: "ip -n h2-pod addr flush dev eth0; ip -n h2-pod addr add POD2/24 dev eth0; ip -n h2-pod route add default via BRIDGE2",
    at: 0,
  },
  {
    code: "mtu-wrong-device",
    make: "ip link add w2 mtu 1280 type veth peer name w0 mtu 1280 netns h2; ip link set w2 master lan0 up; ip -n h2 link set w0 up; ip -n h2 route add 192.168.50.11/32 dev w0 src 192.168.50.12",
    undo: "ip link del w2",
    at: 0,
  },
  {
    code: "pmtu-poisoned",
    make: "ip route replace 192.168.50.12 dev eth0 mtu lock 600",
    undo: "ip route del 192.168.50.12 dev eth0",
    at: 1,
    asked: 1,
    fromUp: true,
  },
  {
    code: "pmtu-blackhole",
    make: "ip link set cni0 mtu 1500; ip link set pod0 mtu 1500; iptables -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP",
    undo: "ip link set pod0 mtu 1450; ip link set cni0 mtu 1450; iptables -F OUTPUT",
  },
  {
    code: "xtables-lock",
    make: "flock /run/xtables.lock sleep 600 >/dev/null 2>&1 & echo $! >/run/lock-holder",
    undo: "kill $(cat /run/lock-holder); fuser -k /run/xtables.lock >/dev/null 2>&1 || true",
  },
];

/** On host 2 after its agent was killed: nobody puts anything back. */
export const troublesWithoutAgent: readonly Trouble[] = [
  {
    code: "subnet-env-missing",
    make: "mv DIRECTORY2/subnet.env DIRECTORY2/kept.env",
    undo: "mv DIRECTORY2/kept.env DIRECTORY2/subnet.env",
  },
  {
    code: "peer-state-stale",
    make: "bridge fdb show dev flannel.1 | sed -n 's/^\\([^ ]*\\) dst.*/\\1/p' | head -1 >/run/peer-mac; bridge fdb del $(cat /run/peer-mac) dev flannel.1",
    undo: "bridge fdb add $(cat /run/peer-mac) dst 192.168.50.11 dev flannel.1 self permanent",
  },
  {
    code: "ipam-exhausted",
    make: "mkdir -p DIRECTORY2/cni/networks/cbr0; cd DIRECTORY2/cni/networks/cbr0; i=2; while [ $i -lt 254 ]; do echo abc >PREFIX2.$i; i=$((i + 1)); done",
    undo: "rm -r DIRECTORY2/cni",
  },
  {
    code: "clock-skew",
    make: "touch -d '+2 hours' DIRECTORY2/subnet.env",
    undo: "touch DIRECTORY2/subnet.env",
  },
  {
    // The agent makes its own device loose; upstream's has what it inherits.
    code: "rp-filter-strict",
    make: "sysctl -qw net.ipv4.conf.all.rp_filter=1 net/ipv4/conf/flannel.1/rp_filter=0; ip route add POD1/32 via 192.168.50.1",
    undo: "sysctl -qw net.ipv4.conf.all.rp_filter=0 net/ipv4/conf/flannel.1/rp_filter=2; ip route del POD1/32",
  },
  {
    code: "store-tls",
    make: "true",
    undo: "true",
    words: ["--etcd-endpoints=https://192.168.50.1:2379"],
    seen: /TLS with https:\/\/192\.168\.50\.1:2379 fails/,
  },
  {
    code: "store-tls",
    make: "cd DIRECTORY2; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 7 -subj /CN=h2 2>/dev/null",
    undo: "rm DIRECTORY2/key.pem DIRECTORY2/cert.pem",
    words: ["--etcd-certfile=DIRECTORY2/cert.pem", "--etcd-keyfile=DIRECTORY2/key.pem"],
    seen: /cert\.pem expires on/,
    isLong: true,
  },
  {
    code: "store-readonly",
    make: `curl -sf ETCD/v3/maintenance/alarm -d '{"action":"ACTIVATE","memberID":"0","alarm":"NOSPACE"}' >/dev/null`,
    undo: "etcdctl --endpoints=ETCD alarm disarm >/dev/null",
    at: 0,
    seen: /database space exceeded/,
  },
  {
    code: "store-auth",
    make: "export ETCDCTL_ENDPOINTS=ETCD; etcdctl user add root:r00t; etcdctl user grant-role root root; etcdctl role add other; etcdctl role grant-permission other --prefix=true readwrite /elsewhere/; etcdctl user add h2:secret2; etcdctl user grant-role h2 other; etcdctl auth enable",
    undo: "etcdctl --endpoints=ETCD --user root:r00t auth disable",
    at: 0,
    words: ["--etcd-username=h2", "--etcd-password=secret2"],
    seen: /permission denied/,
  },
  {
    // From here on there is no bridge any more.
    code: "docker-bip-mismatch",
    make: "mount -t tmpfs none /etc/cni; ip -n h2 link del cni0; ip -n h2 link del pod0; ip netns add docker-pod; ip -n h2 link add docker0 type bridge; ip -n h2 addr add 172.17.0.1/16 dev docker0; ip -n h2 link set docker0 up; ip -n h2 link add vd type veth peer name eth0 netns docker-pod; ip -n h2 link set vd master docker0 up; ip -n docker-pod addr add 172.17.0.2/16 dev eth0; ip -n docker-pod link set eth0 up; ip -n docker-pod route add default via 172.17.0.1",
    undo: "ip -n h2 link del vd; ip -n h2 link del docker0; ip netns del docker-pod; umount /etc/cni",
    at: 0,
  },
  // Last: with the address of the device the kernel forgets the neighbours.
  {
    code: "vtep-mac-changed",
    make: 'ip -j link show flannel.1 | sed \'s/.*"address":"\\([^"]*\\)".*/\\1/\' >/run/vtep-mac; ip link set flannel.1 address 02:00:00:00:00:07',
    undo: "ip link set flannel.1 address $(cat /run/vtep-mac)",
  },
  {
    code: "vxlan-clash",
    make: "ip link set flannel.1 down; ip link add cil type vxlan external dstport 8472; ip link set cil up",
    undo: "ip link del cil; ip link set flannel.1 up",
  },
];
