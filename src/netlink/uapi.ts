// Numbers of the kernel's netlink interface, grouped as in the headers they come from. Pure.

/** linux/netlink.h: sizes, message types, flags. */
export const nlmsg = { headerBytes: 16, error: 2, done: 3 } as const;
export const nlm = {
  request: 0x1,
  ack: 0x4,
  dumpInterrupted: 0x10,
  /** On NLMSG_ERROR and NLMSG_DONE: the failed message is not echoed; attributes follow. */
  capped: 0x100,
  ackAttributes: 0x200,
  dump: 0x300,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
} as const;
export const nlmsgErrorAttribute = { message: 1, offset: 2 } as const;
export const NETLINK_ROUTE = 0;
export const SOL_NETLINK = 270;
export const netlinkOption = { capAck: 10, extendedAck: 11, strictCheck: 12 } as const;

/** linux/socket.h: address families as messages carry them. */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

/** linux/rtnetlink.h: message types. */
export const rtm = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  delNeighbour: 29,
  getNeighbour: 30,
  newRule: 32,
  delRule: 33,
  getRule: 34,
  newNeighbourTable: 64,
  getNeighbourTable: 66,
  newNetconf: 80,
  delNetconf: 81,
  getNetconf: 82,
  newNextHop: 104,
  delNextHop: 105,
  getNextHop: 106,
} as const;

/** linux/rtnetlink.h: multicast groups. */
export const rtnlGroup = {
  link: 1,
  neighbour: 3,
  ipv4Address: 5,
  ipv4Route: 7,
  ipv4Rule: 8,
  ipv6Address: 9,
  ipv6Route: 11,
  ipv6Rule: 19,
  ipv4Netconf: 24,
  nextHop: 32,
} as const;

/** linux/if.h and linux/if_link.h. */
export const iff = { up: 0x1, loopback: 0x8, running: 0x40, noArp: 0x80 } as const;
export const ifla = {
  address: 1,
  interfaceName: 3,
  mtu: 4,
  link: 5,
  master: 10,
  txQueueLength: 13,
  linkInfo: 18,
  afSpec: 26,
  extendedMask: 29,
  propertyList: 52,
  alternativeName: 53,
  infoKind: 1,
  infoData: 2,
  inetConf: 1,
} as const;
/** RTEXT_FILTER_SKIP_STATS: counters are half of a link message and nobody reads them here. */
export const SKIP_STATISTICS = 8;
export const iflaVxlan = {
  id: 1,
  group: 2,
  link: 3,
  local: 4,
  ttl: 5,
  tos: 6,
  learning: 7,
  proxy: 11,
  rsc: 12,
  l2miss: 13,
  l3miss: 14,
  port: 15,
  group6: 16,
  local6: 17,
  udpZeroCsum6Tx: 19,
  udpZeroCsum6Rx: 20,
  gbp: 23,
  collectMetadata: 25,
} as const;

/** linux/if_tunnel.h: IFLA_IPTUN_*. */
export const iflaIptun = {
  link: 1,
  local: 2,
  remote: 3,
  ttl: 4,
  tos: 5,
  protocol: 9,
  pmtuDiscovery: 10,
  encapsulationType: 15,
  collectMetadata: 19,
} as const;

/** linux/if_addr.h */
export const ifa = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;

/** linux/netconf.h; the indexes stand for all devices, and for those that are made later. */
export const netconfa = { index: 1, forwarding: 2, rpFilter: 3, allDevices: -1, newDevices: -2 } as const;

/** linux/ip.h: IPV4_DEVCONF_*. */
export const ipv4Devconf = { forwarding: 1, rpFilter: 8 } as const;

/** linux/rtnetlink.h: routes. */
export const rta = {
  destination: 1,
  source: 2,
  incomingInterface: 3,
  outInterface: 4,
  gateway: 5,
  priority: 6,
  preferredSource: 7,
  metrics: 8,
  multipath: 9,
  table: 15,
  via: 18,
  encapsulationType: 21,
  encapsulation: 22,
  ipProtocol: 27,
  destinationPort: 29,
  nextHopId: 30,
} as const;
/** linux/lwtunnel.h: the type of RTA_ENCAP that puts packets into IPv6, and what is inside. */
export const LWTUNNEL_ENCAP_IP6 = 4;
export const lwtunnelIp6 = { id: 1, destination: 2, source: 3, hopLimit: 4, trafficClass: 5, flags: 6 } as const;
/** Inside RTA_METRICS. */
export const RTAX_MTU = 2;
export const rtn = { unicast: 1, local: 2, blackhole: 6, unreachable: 7, prohibit: 8, throw: 9 } as const;
export const routeProtocol = { kernel: 2, boot: 3 } as const;
export const routeTable = { default: 253, main: 254, local: 255 } as const;
/** The answer to a look-up names the table in which the route was found. */
export const RTM_F_LOOKUP_TABLE = 0x1000;
export const RTNH_F_DEAD = 1;
export const RTNH_F_ONLINK = 4;
export const RTNH_F_LINKDOWN = 16;

/** linux/fib_rules.h */
export const fra = {
  destination: 1,
  source: 2,
  incomingDevice: 3,
  goto: 4,
  priority: 6,
  fwmark: 10,
  tunnelId: 12,
  suppressInterfaceGroup: 13,
  suppressPrefixLength: 14,
  table: 15,
  fwmask: 16,
  outgoingDevice: 17,
  l3mdev: 19,
  userRange: 20,
  protocol: 21,
  ipProtocol: 22,
  sourcePorts: 23,
  destinationPorts: 24,
  dscp: 25,
} as const;
export const frAct = { toTable: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 } as const;
export const FIB_RULE_INVERT = 2;

/** linux/neighbour.h */
export const nda = { destination: 1, linkLayerAddress: 2, interfaceIndex: 8 } as const;
export const ndta = { threshold3: 4, config: 5, statistics: 7 } as const;
export const nud = { noArp: 0x40, permanent: 0x80 } as const;
export const NTF_SELF = 2;
export const NTF_EXT_LEARNED = 0x10;

/** linux/nexthop.h */
export const nha = { id: 1, group: 2, outInterface: 5, gateway: 6 } as const;

/** linux/netfilter/nfnetlink.h and nf_tables.h */
export const NETLINK_NETFILTER = 12;
export const NFNLGRP_NFTABLES = 7;
export const NFNLGRP_NFTRACE = 9;
/** Around a transaction; the resource is that of the subsystem. */
export const nfnlBatch = { begin: 0x10, end: 0x11 } as const;
export const NFNL_SUBSYS_NFTABLES = 10;
export const nftMessage = {
  newTable: 0,
  getTable: 1,
  deleteTable: 2,
  newChain: 3,
  getChain: 4,
  deleteChain: 5,
  newRule: 6,
  getRule: 7,
  deleteRule: 8,
  newSet: 9,
  getSet: 10,
  deleteSet: 11,
  newSetElement: 12,
  getSetElement: 13,
  deleteSetElement: 14,
  newGeneration: 15,
  getGeneration: 16,
  trace: 17,
} as const;
/** The table's name is the first attribute of every object. */
export const nfta = { table: 1, generationId: 1, processId: 2, processName: 3 } as const;
export const nftaTable = { flags: 2 } as const;
export const NFT_TABLE_DORMANT = 1;
/** The table goes with the socket that made it (kernel >= 5.12). */
export const NFT_TABLE_OWNER = 2;
export const nftaChain = { name: 3, hook: 4, policy: 5, type: 7 } as const;
export const nftaHook = { number: 1, priority: 2, device: 3, devices: 4 } as const;
export const nftaRule = { chain: 2, handle: 3, expressions: 4 } as const;
export const nftaSet = { name: 2, flags: 3, keyLength: 5 } as const;
export const nftaSetElements = { set: 2, elements: 3 } as const;
export const nftaElement = { key: 1, data: 2, flags: 3, expression: 7, keyEnd: 10, expressions: 11 } as const;
export const nftaData = { value: 1, verdict: 2 } as const;
export const nftaVerdict = { code: 1, chain: 2 } as const;
export const nftSetFlag = { interval: 4, timeout: 0x10, evaluated: 0x20 } as const;
export const nftElementFlag = { intervalEnd: 1, catchAll: 2 } as const;
/** NF_DROP and so on, and NFT_CONTINUE and so on. */
export const nftVerdict = { drop: 0, accept: 1, continue: -1, break: -2, jump: -3, goto: -4, return: -5 } as const;
export const nftCompare = { equal: 0, notEqual: 1, less: 2, lessOrEqual: 3, greater: 4, greaterOrEqual: 5 } as const;
export const nftPayloadBase = { link: 0, network: 1, transport: 2 } as const;
/** enum nft_meta_keys. */
export const nftMeta = {
  length: 0,
  protocol: 1,
  mark: 3,
  incomingIndex: 4,
  outgoingIndex: 5,
  incomingName: 6,
  outgoingName: 7,
  trace: 12,
  netfilterProtocol: 15,
  layer4Protocol: 16,
} as const;
export const nftaExpression = { name: 1, data: 2 } as const;
/** Of the expressions that are written: meta, cmp, payload, immediate. */
export const nftaMeta = { destination: 1, key: 2, source: 3 } as const;
export const nftaCompare = { source: 1, operation: 2, data: 3 } as const;
export const nftaPayload = { destination: 1, base: 2, offset: 3, length: 4 } as const;
export const nftaImmediate = { destination: 1, data: 2 } as const;
/** enum nft_trace_attributes, nft_trace_types. */
export const nftaTrace = {
  table: 1,
  chain: 2,
  ruleHandle: 3,
  type: 4,
  verdict: 5,
  id: 6,
  networkHeader: 8,
  incomingIndex: 10,
  outgoingIndex: 12,
  policy: 16,
} as const;
export const nftTraceType = { policy: 1, return: 2, rule: 3 } as const;
/** enum nf_inet_hooks. */
export const nfHook = { prerouting: 0, output: 3 } as const;
export const nftCt = { state: 0, status: 2 } as const;
export const nftFib = { resultAddressType: 3, source: 1, destination: 2 } as const;
/** NFPROTO_*: the family of a table. */
export const nfproto = { inet: 1, ipv4: 2, arp: 3, netdev: 5, bridge: 7, ipv6: 10 } as const;

/** linux/xfrm.h: messages, attributes, values. */
export const NETLINK_XFRM = 6;
export const xfrmMessage = {
  newState: 0x10,
  deleteState: 0x11,
  getState: 0x12,
  newPolicy: 0x13,
  deletePolicy: 0x14,
  getPolicy: 0x15,
  updatePolicy: 0x19,
} as const;
export const xfrma = { authentication: 1, encryption: 2, template: 5, mark: 21, interfaceId: 31 } as const;
export const xfrm = { actionAllow: 0, actionBlock: 1, modeTunnel: 1, protocolEsp: 50 } as const;
