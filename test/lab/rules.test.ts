// Traffic rules with real packets, in every mode: what address the world sees, who reaches whom, and that a restart of
// the agent is not seen by anybody.
import { mkdirSync, symlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { ConnectionStream, SourceRecorder } from "../../lab/connection-stream.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { boxNamespace, type Namespace } from "../../lab/namespace.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { parseAddress } from "../../src/ip/address.ts";

const world = { ipv4: "192.168.50.1", ipv6: "fd00:50::1" };
const legacyTools = "/run/legacy";

/** A PATH in which plain iptables is the legacy one. */
function makeLegacyTools(): void {
  mkdirSync(legacyTools);
  for (const tool of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore"]) {
      symlinkSync(`/usr/sbin/${tool}-legacy${suffix}`, `${legacyTools}/${tool}${suffix}`);
    }
  }
}

/** One connection to the box; gives the address that it saw. */
async function seenFrom(from: Namespace, address: string): Promise<string | undefined> {
  await using recorder = await SourceRecorder.listen(9_100);
  const target = address.includes(":") ? `[${address}]` : address;
  await from.tryRun(["socat", "-u", "-T1", "OPEN:/dev/null", `TCP:${target}:9100,connect-timeout=1`]);
  return [...recorder.sources.keys()][0];
}

/** Who asked, as a server in `at` sees it. */
async function seenBy(at: Namespace, from: Namespace, address: string): Promise<string> {
  const target = address.includes(":") ? `[${address}]` : address;
  const [listen, connect] = address.includes(":") ? ["TCP6-LISTEN", "TCP6"] : ["TCP4-LISTEN", "TCP4"];
  const server = at.run(["socat", "-T5", `${listen}:9400,reuseaddr`, "SYSTEM:echo $SOCAT_PEERADDR"], {});
  const answer = await until(
    async () => (await from.run(["socat", "-T2", "-", `${connect}:${target}:9400,connect-timeout=1`])).trim(),
    { what: `an answer from ${address}` },
  );
  await server;
  return answer.replace(/^\[|\]$/g, "");
}

beforeAll(makeLegacyTools);

describe.each(["nftables", "iptables-nft", "iptables-legacy"] as const)("%s", (mode) => {
  const resources = new AsyncDisposableStack();
  const path = process.env["PATH"] ?? "";
  const agentOptions = {
    args: ["--ip-masq"],
    env: mode === "iptables-legacy" ? { PATH: `${legacyTools}:${path}` } : {},
  };
  const iptables = mode === "iptables-legacy" ? "iptables-legacy" : "iptables-nft";
  let lan: Lan;
  let etcd: Etcd;
  let agents: LabAgent[];
  let pods: readonly Pod[];

  beforeAll(async () => {
    lan = resources.use(await createLan({ hosts: 2, ipv6: true }));
    etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    const config = {
      Network: "10.5.0.0/16",
      EnableIPv6: true,
      IPv6Network: "fd00:10::/48",
      EnableNFTables: mode === "nftables",
      Backend: { Type: "vxlan" },
    };
    await etcd.put("/coreos.com/network/config", JSON.stringify(config));
    // The policy that Docker sets when it finds forwarding off, on one host already there, on the other set later.
    await lan.host(1).namespace.run([iptables, "-P", "FORWARD", "DROP"]);
    agents = lan.hosts.map((host) =>
      resources.use(LabAgent.start(host, { etcdEndpoints: etcd.endpoints, ...agentOptions })),
    );
    await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
    pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
    for (const pod of pods) {
      // So that a packet that was not masqueraded would be answered too, and its source be seen.
      await boxNamespace.ip("route", "replace", `${pod.ipv4}/32`, "via", pod.host.ipv4 ?? "");
      await boxNamespace.ip("-6", "route", "replace", `${pod.ipv6}/128`, "via", pod.host.ipv6 ?? "");
    }
    await untilAllPing(pods);
  });

  afterAll(() => resources.disposeAsync());

  function hostAndPod(number: number): { readonly pod: Pod; readonly agent: LabAgent } {
    const [pod, agent] = [pods[number - 1], agents[number - 1]];
    if (pod === undefined || agent === undefined) throw new Error(`no host ${number}`);
    return { pod, agent };
  }

  it("says where the rules are, and why", async () => {
    const { rules } = await hostAndPod(1).agent.status();
    expect(rules).toMatchObject({ mode, masquerade: true, forward: true });
    const env = await hostAndPod(1).agent.untilSubnetEnv();
    expect(env.ipMasq).toBe(true);
  });

  it("shows the world the host's address, not the container's", async () => {
    for (const { namespace, host } of pods) {
      expect(await seenFrom(namespace, world.ipv4)).toBe(host.ipv4);
      expect(await seenFrom(namespace, world.ipv6)).toBe(host.ipv6);
    }
  });

  it("keeps the container's address between hosts", async () => {
    const [first, second] = pods as [Pod, Pod];
    expect(await seenBy(second.namespace, first.namespace, second.ipv4 ?? "")).toBe(first.ipv4);
    const seen = await seenBy(second.namespace, first.namespace, second.ipv6 ?? "");
    expect(parseAddress(seen)).toBe(parseAddress(first.ipv6 ?? ""));
  });

  it("a host reaches its own container and that of another with an address they can answer", async () => {
    const [first, second] = pods as [Pod, Pod];
    expect(await seenBy(first.namespace, first.host.namespace, first.ipv4 ?? "")).toMatch(/^10\.5\./);
    expect(await seenBy(second.namespace, first.host.namespace, second.ipv4 ?? "")).toMatch(/^10\.5\./);
  });

  it("leaves packets with kube-proxy's mark alone, whatever other bits they have", async () => {
    const [first] = pods as [Pod];
    const { namespace, ipv4 } = first.host;
    for (const [mark, source] of [
      ["0x14001", first.ipv4],
      ["0x8001", ipv4],
    ] as const) {
      await namespace.nft(`table ip marks {
  chain forward {
    type filter hook forward priority -10;
    ip saddr 10.5.0.0/16 meta mark set ${mark}
  }
}
`);
      expect(await seenFrom(first.namespace, world.ipv4)).toBe(source);
      await namespace.run(["nft", "delete", "table", "ip", "marks"]);
    }
  });

  it("lets containers reach each other although the FORWARD policy is DROP, before and after", async () => {
    await lan.host(2).namespace.run([iptables, "-P", "FORWARD", "DROP"]);
    await untilAllPing(pods, 6_000);
  });

  it("no connection is refused or seen from a container's address while the agent restarts", async () => {
    const { pod, agent } = hostAndPod(1);
    const stream = await ConnectionStream.start(pod.namespace, world.ipv4, 9_200);
    await stream.more(100);
    await agent.kill9();
    await stream.more(100);
    const second = resources.use(LabAgent.start(agent.host, { etcdEndpoints: etcd.endpoints, ...agentOptions }));
    await second.untilReady({ peers: 1 });
    await stream.more(100);
    await second.term();
    const third = resources.use(LabAgent.start(agent.host, { etcdEndpoints: etcd.endpoints, ...agentOptions }));
    await third.untilReady({ peers: 1 });
    await stream.more(100);
    agents[0] = third;
    const report = await stream.stop();
    expect(report.failed).toEqual({});
    expect([...report.sources.keys()]).toEqual([pod.host.ipv4]);
  });
});
