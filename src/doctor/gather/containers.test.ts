// Which interface of a container has its other end on this host.
import { expect, it } from "vitest";
import type { LinkMessage } from "../../netlink/rtnetlink/messages.ts";
import { withOwnEnds } from "./containers.ts";

const link = (index: number, name: string, peerIndex?: number): LinkMessage => ({
  ...{ index, name, mtuBytes: 1500, isUp: true, isRunning: true, isLoopback: false },
  ...(peerIndex !== undefined && { kind: "veth", peerIndex }),
});

it("takes an index for one of this host only where both ends name each other", () => {
  const links = [link(2, "eth0"), link(7, "veth7", 2), link(9, "veth9", 3)];
  const device = (name: string, index: number, peerIndex?: number) => ({
    ...{ name, index, isUp: true, mtuBytes: 1500, addresses: [] },
    ...(peerIndex !== undefined && { peerIndex }),
  });
  const interfaces = [
    device("of a container here", 2, 7),
    device("of a container within another", 4, 7),
    device("on the card of this host", 5, 2),
    device("of nobody here", 2, 99),
    device("without another end", 2),
  ];
  const [found] = withOwnEnds([{ name: "web", path: "/proc/12/ns/net", interfaces, routes: [] }], links);
  expect(found?.interfaces.map(({ name, peerIndex }) => [name, peerIndex])).toEqual([
    ["of a container here", 7],
    ...interfaces.slice(1).map(({ name }) => [name, undefined]),
  ]);
});
