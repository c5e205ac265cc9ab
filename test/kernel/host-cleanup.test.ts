// Cleanup and preflight on a real kernel.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { link, routes } from "../../lab/kernel-view.ts";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { backends } from "../../src/backend/registry.ts";
import type { CheckContext } from "../../src/doctor/check.ts";
import type { Finding } from "../../src/doctor/finding.ts";
import { Preflight } from "../../src/doctor/preflight.ts";
import { scanContext } from "../../src/doctor/scan-context.ts";
import { Firewall } from "../../src/firewall/firewall.ts";
import { Reconciler } from "../../src/host/reconcile/reconciler.ts";
import { cleanUpHost, findDevices } from "../../src/host/without-agent.ts";
import { parsePrefix } from "../../src/ip/address.ts";
import { Rtnetlink } from "../../src/netlink/rtnetlink/rtnetlink.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";
import { selectExternalInterface } from "../../src/underlay/select-interface.ts";
import { device, gatewayState, makeEth0, network, overlayState, range } from "../support/host-fixture.ts";

let netlink: Rtnetlink;

beforeEach(async () => {
  netlink = Rtnetlink.open();
  await makeEth0();
});

afterEach(async () => {
  await netlink[Symbol.asyncDispose]();
  await box.tryRun([
    "sh",
    "-c",
    "ip link del dev eth0; ip link del dev flannel.1; ip link del dev flannel.2; ip link del dev odd",
  ]);
});

function openFirewall(): Firewall {
  const { signal } = new AbortController();
  return new Firewall({ preferNftables: false, suffix: "", networks: [], resyncMs: 0, logger: silentLogger, signal });
}

/** Of a backend whose vxlan device receives at this port. */
const needsOf = (udpPort: number) => ({ carriesTraffic: true, kernelDevice: { kind: "vxlan", udpPort } }) as const;

describe("cleanup", () => {
  test("removes all that is ours and nothing else", async () => {
    const before = await routes(box);
    await using reconciler = await Reconciler.open({
      devices: [device],
      ownedNetworks: [network],
      logger: silentLogger,
      signal: new AbortController().signal,
    });
    const overlay = overlayState(...range(1, 1_010));
    await reconciler.setDesired(
      { ...overlay, route: [...overlay.route, ...gatewayState(1_020).route] },
      { prune: true },
    );
    await reconciler[Symbol.asyncDispose]();
    await box.ipBatch([
      "link add dev flannel.2 type bridge",
      "link add dev odd type vxlan id 9 dev eth0 dstport 0",
      "nexthop add id 5 via 192.168.50.12 dev eth0",
    ]);

    const scope = { devices: await findDevices(backends.devicePatterns), networks: [network] };
    expect(scope.devices).toEqual([device]);
    const quiet = { logger: silentLogger, signal: new AbortController().signal };
    const dryRun = await cleanUpHost(scope, { ...quiet, isDryRun: true });
    expect(dryRun.removed).toContainEqual(expect.stringContaining(`${device} address`));
    expect(dryRun.removed).toContainEqual(expect.stringContaining("10.3.252.0/24 via 192.168.54.7 dev eth0"));
    expect(await link(box, device)).toBeDefined();

    expect(await cleanUpHost(scope, { ...quiet, isDryRun: false })).toMatchObject({ failures: [] });
    expect(await link(box, device)).toBeUndefined();
    expect(await routes(box)).toEqual(before);
    expect(await link(box, "flannel.2")).toMatchObject({ kind: "bridge" });
    expect(await link(box, "odd")).toBeDefined();
    expect((await box.ipJson("nexthop", "show")).map((entry) => entry["id"])).toEqual([5]);
    // A second run finds nothing to do and nothing to complain about.
    expect(await cleanUpHost(scope, { ...quiet, isDryRun: false })).toEqual({ removed: [], failures: [] });
  });
});

describe("preflight", () => {
  let preflight: Preflight;
  let firewall: Firewall;
  let context: CheckContext;

  beforeEach(async () => {
    firewall = openFirewall();
    preflight = new Preflight(netlink, (checked) => firewall.packetDrops(scanContext(checked)));
    const { interface: externalInterface } = await selectExternalInterface(
      { families: new Set([4]), interfaces: ["eth0"], interfaceRegexes: [] },
      netlink,
    );
    context = {
      families: new Set([4]),
      networks: [parsePrefix("10.5.0.0/16")],
      ownSubnets: [parsePrefix("10.5.1.0/24")],
      earlierSubnets: [],
      externalInterface,
      devices: [device],
      overlayMtuBytes: 1450,
      needs: needsOf(8472),
    };
    await box.sysctl({ "net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.eth0.rp_filter": 0 });
  });

  /** Runs each remedy and gives what is found before and after. */
  async function findingsAndCure(changed: Partial<CheckContext> = {}): Promise<readonly Finding[]> {
    const findings = await preflight.evaluate({ ...context, ...changed });
    for (const { remedy } of findings) await box.run(["sh", "-c", remedy]);
    preflight = new Preflight(netlink, (checked) => firewall.packetDrops(scanContext(checked)));
    // One that has looked before answers from that for a time, the longer the slower the machine.
    await using afresh = openFirewall();
    preflight = new Preflight(netlink, (checked) => afresh.packetDrops(scanContext(checked)));
    expect(await preflight.evaluate({ ...context, ...changed })).toEqual([]);
    return findings;
  }

  test("a host in order has no finding", async () => {
    expect(await preflight.evaluate(context)).toEqual([]);
    await box.ipBatch(["link add dev cni0 type bridge", "addr add 10.5.1.1/24 dev cni0", "link set dev cni0 up"]);
    expect(await preflight.evaluate(context)).toEqual([]);
    await box.ip("link", "del", "dev", "cni0");
  });

  test("forwarding off, both families, with a remedy that works", async () => {
    await box.sysctl({ "net.ipv4.ip_forward": 0, "net.ipv6.conf.all.forwarding": 0 });
    const findings = await findingsAndCure({ families: new Set([4, 6]) });
    expect(findings.map(({ name, remedy }) => [name, remedy])).toEqual([
      ["ip-forward-off", "sysctl -w net.ipv4.ip_forward=1"],
      ["ip-forward-off", "sysctl -w net.ipv6.conf.all.forwarding=1"],
    ]);
  });

  test("strict reverse path filter alone is no trouble", async () => {
    await box.sysctl({ "net.ipv4.conf.eth0.rp_filter": 1 });
    expect(await preflight.evaluate(context)).toEqual([]);
  });

  test("FORWARD policy DROP of iptables and of nftables, with remedies that work", async () => {
    await box.run(["iptables", "-P", "FORWARD", "DROP"]);
    await box.nft("table inet other {\n chain fw {\n type filter hook forward priority 0; policy drop;\n }\n}\n");
    const findings = await findingsAndCure();
    expect(findings.map(({ evidence }) => evidence.replace(/ drops.*/, ""))).toEqual([
      "iptables-nft FORWARD",
      "nft chain inet other fw",
    ]);
    await box.run(["nft", "flush", "ruleset"]);
  });

  test("MTU too small, with a remedy that works", async () => {
    await box.ip("link", "set", "dev", "eth0", "mtu", "1300");
    const external = { ...context.externalInterface, mtuBytes: 1300 };
    const small = {
      ...context,
      families: new Set([4, 6] as const),
      externalInterface: external,
      overlayMtuBytes: 1230,
    };
    await box.sysctl({ "net.ipv6.conf.all.forwarding": 1 });
    const [finding] = await preflight.evaluate(small);
    expect(finding).toMatchObject({ name: "external-mtu", remedy: "ip link set dev eth0 mtu 1350" });
  });

  test("the port taken by a program, not by vxlan devices", async () => {
    await box.ipBatch([
      `link add ${device} type vxlan id 1 local 192.168.50.11 dev eth0 dstport 8472`,
      `link set dev ${device} up`,
    ]);
    expect(await preflight.evaluate(context)).toEqual([]);
    const socket = createSocket("udp4").bind(4789);
    await once(socket, "listening");
    expect((await preflight.evaluate({ ...context, needs: needsOf(4789) }))[0]).toMatchObject({
      name: "vxlan-clash",
      remedy: expect.stringContaining("ss -ulpn 'sport = :4789'"),
    });
    socket.close();
    await once(socket, "close");
    expect(await preflight.evaluate({ ...context, needs: needsOf(4789) })).toEqual([]);
  });

  test("the network overlapping an address or a route", async () => {
    await box.ip("addr", "add", "10.5.200.1/24", "dev", "eth0");
    await box.ip("route", "add", "10.0.0.0/8", "via", "192.168.50.1");
    const [finding] = await preflight.evaluate(context);
    expect(finding?.name).toBe("network-overlap");
    expect(finding?.evidence).toContain("10.5.0.0/16 with 10.5.200.1/24 of eth0");
    expect(finding?.evidence).toContain("10.5.0.0/16 with the route 10.0.0.0/8 dev eth0");
  });

  test("a policy rule before the main table, with a cure that works", async () => {
    await box.ip("rule", "add", "pref", "100", "lookup", "200");
    await box.ip("rule", "add", "pref", "90", "fwmark", "1", "prohibit");
    expect(await preflight.evaluate(context)).toEqual([]);
    await box.ip("route", "add", "default", "via", "192.168.50.1", "table", "200");
    await box.ip("route", "add", "10.5.7.0/24", "via", "192.168.50.9");
    expect(await box.ip("route", "get", "10.5.7.1")).toContain("via 192.168.50.1 dev eth0 table 200");
    const [finding] = await findingsAndCure();
    expect(finding).toMatchObject({
      name: "policy-rule",
      severity: "warning",
      evidence: expect.stringMatching(
        /^the policy rule "100: from all lookup 200" sends packets for 10\.5\.0\.0\/16 to table 200, where the route "default via 192\.168\.50\.1 dev eth0" matches/,
      ),
      remedy: "ip rule add pref 99 to 10.5.0.0/16 lookup main",
    });
    expect(await box.ip("route", "get", "10.5.7.1")).toContain("via 192.168.50.9 dev eth0 src");
    for (const pref of ["99", "90", "100"]) await box.ip("rule", "del", "pref", pref);
    await box.ip("route", "flush", "table", "200");
    await box.ip("route", "del", "10.5.7.0/24");
  });

  test("the probe for vxlan makes nothing", async () => {
    const before = await box.ip("-o", "link");
    await preflight.evaluate(context);
    expect(await box.ip("-o", "link")).toBe(before);
  });
});
