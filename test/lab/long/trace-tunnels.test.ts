// `flannelctl trace` with WireGuard and IPsec in user space: every hop of real encrypted packets is seen, and each way in which the
// way breaks is told for what it is, and no more.
import { dirname } from "node:path";
import { expect, it } from "vitest";
import { Cluster } from "../../../lab/cluster.ts";
import type { LabHost } from "../../../lab/host.ts";
import { ipsecAgent } from "../../../lab/ipsec-host.ts";
import { socketFile, wg, wireguardAgent } from "../../../lab/wireguard-host.ts";
import { type Traced, type TraceFault, traceFaults } from "../../support/trace-faults.ts";

const table = (hook: string, rule: string, family = "inet") =>
  `nft add table ${family} z; nft 'add chain ${family} z f {type filter hook ${hook} priority 0;}'; nft 'add rule ${family} z f ${rule}'`;

/** `ports`: of nft, those of the tunnel. */
const commonFaults = (ports: string): readonly TraceFault[] => [
  {
    ...{ name: "own firewall", at: 1, undo: "nft delete table inet z" },
    make: table("output", `udp dport ${ports} drop`),
  },
  {
    ...{ name: "own firewall, coming in", at: 1, undo: "nft delete table inet z" },
    make: table("input", `udp dport ${ports} drop`),
  },
  {
    ...{ name: "dropped between the hosts", at: 0, undo: "nft delete table bridge z" },
    make: table("forward", `udp dport ${ports} drop`, "bridge"),
  },
  {
    ...{ name: "the peer does not forward", at: 2 },
    make: "sysctl -qw net.ipv4.ip_forward=0",
    undo: "sysctl -qw net.ipv4.ip_forward=1",
  },
];

async function tracesOf(
  cluster: Cluster,
  faults: readonly TraceFault[],
  wrap?: (argv: readonly string[]) => readonly string[],
): Promise<(name: string) => Traced> {
  const all = new Map<string, Traced>();
  await traceFaults(cluster, faults, (name, traced) => all.set(name, traced), wrap);
  return (name) => {
    const found = all.get(name);
    if (found === undefined) throw new Error(`nothing is known of ${name}`);
    return found;
  };
}

function expectOwnFirewall(of: (name: string) => Traced): void {
  expect(of("own firewall").verdict).toMatch(/lost on this host: inet z f drops the packet inside of the tunnel's/);
  expect(of("own firewall, coming in").verdict).toMatch(/lost on this host: inet z f drops the answer inside/);
  expect(of("the peer does not forward").verdict).toMatch(/192\.168\.50\.12 does not forward to it/);
}

it("wireguard", async () => {
  const launch = (host: LabHost) => {
    const { program, keyFile } = wireguardAgent(host);
    return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
  };
  const config = { Network: "10.5.0.0/16", Backend: { Type: "wireguard" } };
  await using cluster = await Cluster.start({ hosts: 2, config, launch });
  const [first, second] = [cluster.lan.host(1), cluster.lan.host(2)];
  const inPlace = (host: LabHost, script: string) =>
    `unshare --mount sh -c 'mount --bind ${dirname(socketFile(host, "x"))} /var/run/wireguard; ${script}'`;
  const subnet = (cluster.pod(2).ipv4 ?? "").replace(/\d+$/, "0/24");
  await wg(second, "genkey").then((key) =>
    second.namespace.run(["sh", "-c", `printf '${key.trim()}' >/run/other-key`]),
  );
  const of = await tracesOf(
    cluster,
    [
      ...commonFaults("51820"),
      {
        ...{ name: "the peer's device down", at: 2, stopped: [2] },
        make: "ip link set flannel-wg down",
        undo: "ip link set flannel-wg up",
      },
      {
        ...{ name: "another key there", at: 2, stopped: [2] },
        make: inPlace(
          second,
          "wg show flannel-wg private-key >/run/right-key; wg set flannel-wg private-key /run/other-key",
        ),
        undo: inPlace(second, "wg set flannel-wg private-key /run/right-key"),
      },
      {
        ...{ name: "another peer has the subnet here", at: 1, stopped: [1] },
        make: inPlace(
          first,
          `wg set flannel-wg peer $(wg pubkey </run/other-key) allowed-ips ${subnet} endpoint 192.168.50.12:51820`,
        ),
        undo: inPlace(first, "wg set flannel-wg peer $(wg pubkey </run/other-key) remove"),
      },
    ],
    (argv) => ["sh", "-c", `${inPlace(first, 'exec "$0" "$@"')} "$@"`, "sh", ...argv],
  );
  expect(of("whole")).toMatchObject({ exitCode: 0, troubles: [] });
  expect(of("whole").hops.map((hop) => hop.split(/ here| by this| \(/)[0])).toEqual([
    ...["sent", "left flannel-wg", "left eth0", "answer arrived at eth0", "answer came out of flannel-wg"],
    "answer delivered",
  ]);
  expect(of("whole").hops[2]).toMatch(
    /wireguard, UDP port 51820, to 192\.168\.50\.12 \(UDP 51820 > 51820, \d+ bytes\)/,
  );
  expectOwnFirewall(of);
  for (const name of ["dropped between the hosts", "the peer's device down", "another key there"]) {
    const verdict = expect.stringMatching(
      /answers outside of the tunnel and nothing inside does: .* its device is missing or down, or it has another key/,
    );
    expect(of(name)).toMatchObject({ exitCode: 1, verdict });
  }
  expect(of("another peer has the subnet here")).toMatchObject({
    exitCode: 1,
    troubles: [expect.stringMatching(/peer \S+ endpoint 192\.168\.50\.12:51820 allowed-ips/)],
  });
});

it("ipsec", async () => {
  const config = { Network: "10.5.0.0/16", Backend: { Type: "ipsec", PSK: "a-secret-that-nobody-shows".repeat(4) } };
  await using cluster = await Cluster.start({ hosts: 2, config, launch: (host) => ipsecAgent(host) });
  const of = await tracesOf(cluster, [
    ...commonFaults("{ 500, 4500 }"),
    {
      ...{ name: "no route to the peer's host", at: 1 },
      make: "ip route add unreachable 192.168.50.12/32",
      undo: "ip route del unreachable 192.168.50.12/32",
    },
  ]);
  expect(of("whole")).toMatchObject({ exitCode: 0, troubles: [] });
  expect(of("whole").hops.join("\n")).toMatch(
    /left eth0 here, ipsec to 192\.168\.50\.12 \(UDP 4500 > 4500, \d+ bytes\)/,
  );
  expectOwnFirewall(of);
  expect(of("dropped between the hosts").verdict).toMatch(
    /drops IPsec's packets .* its charon is down or has another key/,
  );
  expect(of("no route to the peer's host")).toMatchObject({
    exitCode: 1,
    cause: "192.168.50.12 unreachable",
    verdict: expect.stringMatching(/^lost on this host: the kernel has no way to 192\.168\.50\.12/),
  });
});
