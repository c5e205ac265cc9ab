// Two families of which one has no socket (its port is taken, its address not there yet): the other is carried, what is
// missing is named, and it is carried as soon as its socket can be had.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { expect, test } from "vitest";
import { until } from "../../lab/wait.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { back, out, TunnelFixture } from "../support/tunnel-fixture.ts";

const PORT = 8285;

async function expectCarried(fixture: TunnelFixture, family: 4 | 6): Promise<void> {
  fixture.sendInside(out[family]);
  await until(() => fixture.atPeer(family), { what: `a packet of IPv${family} to reach the peer` });
  const before = fixture.tunnel.status().carried.receivedPackets;
  fixture.sendOutside(back[family], family);
  await until(() => fixture.tunnel.status().carried.receivedPackets > before, {
    what: `the peer's packet of IPv${family} to be received`,
  });
}

async function takePort(family: 4 | 6, address: string): Promise<AsyncDisposable> {
  const socket = createSocket({ type: `udp${family}`, ipv6Only: family === 6 });
  socket.bind(PORT, address);
  await once(socket, "listening");
  return socket;
}

const said = (fixture: TunnelFixture, event: string) => fixture.log.lines.filter((line) => line.event === event).length;

test.each([
  { missing: 6, other: 4, address: "fd00:99::1", named: `IPv6 is not used: bind UDP socket [fd00:99::1]:${PORT}` },
  { missing: 4, other: 6, address: "127.0.0.1", named: `IPv4 is not used: bind UDP socket 127.0.0.1:${PORT}` },
] as const)("without a socket for IPv$missing IPv$other is carried, and both when it can be had", async (families) => {
  const { missing, other, address, named } = families;
  await using fixture = await TunnelFixture.open({ port: 8_286 });
  {
    await using _taken = await takePort(missing, address);
    await fixture.setState();
    expect(fixture.tunnel.problem).toContain(named);
    await expectCarried(fixture, other);
    fixture.sendInside(out[missing]);
    await until(() => fixture.tunnel.status().dropped.sendRefused > 0, { what: "the other family's to be counted" });
    // The same session goes on, whatever its peers do.
    await fixture.setState({ peers: [] });
    await fixture.setState();
    await expectCarried(fixture, other);
    expect(fixture.tunnel.problem).toContain(named);
  }
  // Peers change while the session is replaced, too.
  const isWhole = async () => {
    await fixture.setState();
    return fixture.tunnel.problem === undefined;
  };
  await until(isWhole, { what: "the missing socket to be had", intervalMs: 0 });
  await expectCarried(fixture, missing);
  await expectCarried(fixture, other);
  expect(said(fixture, "tunnel.incomplete")).toBe(1);
  expect(said(fixture, "tunnel.failed")).toBe(0);
});

test("an address that is not there yet; changes while its socket is opened; none at all", async () => {
  await using fixture = await TunnelFixture.open({ localIpv6: parseAddress("fd00:77::1") });
  expect(fixture.tunnel.problem).toContain("IPv6 is not used");
  await expectCarried(fixture, 4);
  await fixture.setState({ localIpv4: parseAddress("203.0.113.77"), localIpv6: parseAddress("fd00:77::1") });
  expect(fixture.tunnel.status().features).toBeUndefined();
  expect(fixture.tunnel.problem).toContain("203.0.113.77");
  await fixture.setState();
  await expectCarried(fixture, 4);
  await expectCarried(fixture, 6);
});
