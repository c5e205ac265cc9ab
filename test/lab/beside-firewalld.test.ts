// Beside a real firewalld: it rejects what no zone of its own accepts, whatever others accept. The agent says so with the
// remedy, and a reload does no harm.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { Etcd } from "../../lab/etcd.ts";
import { Firewalld } from "../../lab/firewalld.ts";
import { createLan } from "../../lab/lan.ts";
import { attachPod, type Pod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

describe.each(["nftables", "iptables-nft"] as const)("%s", (mode) => {
  const resources = new AsyncDisposableStack();
  let agent: LabAgent;
  let firewalld: Firewalld;
  let pods: Pod[];

  beforeAll(async () => {
    const lan = resources.use(await createLan({ hosts: 2 }));
    const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
    const config = { Network: "10.5.0.0/16", EnableNFTables: mode === "nftables", Backend: { Type: "host-gw" } };
    await etcd.put("/coreos.com/network/config", JSON.stringify(config));
    firewalld = resources.use(await Firewalld.start(lan.host(1)));
    const agents = lan.hosts.map((host) =>
      resources.use(LabAgent.start(host, { etcdEndpoints: etcd.endpoints, args: ["--ip-masq"] })),
    );
    await Promise.all(agents.map((each) => each.untilReady({ peers: 1 })));
    [agent] = agents as [LabAgent];
    pods = await Promise.all(agents.map(async (each) => attachPod(each.host, await each.untilSubnetEnv())));
  });

  afterAll(() => resources.disposeAsync());

  it("names the chain and the rule that reject, with a remedy that works", async () => {
    const finding = await until(
      async () => (await agent.status()).findings.find(({ name }) => name === "forward-drop"),
      { what: "the finding" },
    );
    expect(finding.evidence).toMatch(
      /nft chain inet firewalld filter_FORWARD drops forwarded packets \(rule "reject with icmpx admin-prohibited" in chain filter_/,
    );
    expect(finding.remedy).toBe(
      "firewall-cmd --permanent --zone=trusted --add-source=10.5.0.0/16 && firewall-cmd --reload",
    );
    await firewalld.command("--zone=trusted", "--add-source=10.5.0.0/16");
    await untilAllPing(pods);
  });

  it("its reload, which may flush iptables, does no lasting harm", async () => {
    const [first] = pods;
    const hasRules = async () => {
      const text = await first?.host.namespace.run(
        mode === "nftables" ? ["nft", "list", "ruleset"] : ["iptables-save"],
      );
      const marks = mode === "nftables" ? ["chain postrtg", "chain forward"] : ["-j FLANNEL-POSTRTG", "-j FLANNEL-FWD"];
      return marks.every((mark) => text?.includes(mark) === true);
    };
    await firewalld.command("--runtime-to-permanent");
    for (const reload of ["--reload", "--complete-reload"]) {
      await firewalld.command(reload);
      await until(hasRules, { what: `the rules after ${reload}` });
      await untilAllPing(pods);
    }
    expect((await agent.status()).failures).toEqual([]);
  });
});
