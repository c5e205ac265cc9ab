import { expect, test } from "vitest";
import { parseAddress, parsePrefix } from "../../ip/address.ts";
import { type HostState, hostStateLines } from "./host-state.ts";

const state: HostState = {
  link: [
    {
      kind: "vxlan",
      name: "flannel.1",
      mac: "0a:00:00:00:00:01",
      mtuBytes: 1450,
      vni: 1,
      port: 0,
      local: parseAddress("192.168.50.11"),
      underlay: "eth0",
      learning: false,
      gbp: true,
    },
  ],
  sysctl: [{ key: "net/ipv6/conf/flannel.1/accept_ra", value: "0" }],
  address: [{ device: "flannel.1", address: parsePrefix("10.5.1.0/32") }],
  neighbour: [{ device: "flannel.1", address: parseAddress("10.5.2.0"), mac: "0a:00:00:00:00:02" }],
  fdb: [{ device: "flannel.1", mac: "0a:00:00:00:00:02", destination: parseAddress("192.168.50.12") }],
  route: [
    {
      destination: parsePrefix("10.5.2.0/24"),
      device: "flannel.1",
      gateway: parseAddress("10.5.2.0"),
      onLink: true,
    },
    {
      destination: parsePrefix("10.5.3.0/24"),
      device: "eth0",
      gateway: parseAddress("192.168.50.13"),
      onLink: false,
    },
    {
      destination: parsePrefix("fd00:5:2::/64"),
      device: "flannel.1",
      gateway: parseAddress("fd00:5:2::"),
      onLink: true,
    },
  ],
};

test("a host state reads as ip, bridge and sysctl print it", () => {
  expect(hostStateLines(state)).toEqual([
    "flannel.1 address 0a:00:00:00:00:01 mtu 1450 type vxlan id 1 local 192.168.50.11 dev eth0 dstport 8472 nolearning gbp",
    "net.ipv6.conf.flannel/1.accept_ra = 0",
    "inet 10.5.1.0/32 scope global flannel.1",
    "10.5.2.0 dev flannel.1 lladdr 0a:00:00:00:00:02 PERMANENT",
    "0a:00:00:00:00:02 dev flannel.1 dst 192.168.50.12 self permanent",
    "10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink",
    "10.5.3.0/24 via 192.168.50.13 dev eth0 proto 241",
    "fd00:5:2::/64 via fd00:5:2:: dev flannel.1 metric 1024 onlink pref medium",
  ]);
});
