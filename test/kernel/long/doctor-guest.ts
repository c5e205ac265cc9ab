// Runs on a kernel that has bonds, VRFs and netem: `flannelctl doctor` on hosts that are in order however odd. Prints one line of JSON
// for each; doctor-kernel.test.ts judges.
import { boxNamespace } from "../../../lab/namespace.ts";
import { until } from "../../../lab/wait.ts";
import { DoctorStage, type StageOptions } from "../../support/doctor-stage.ts";
import { tell } from "./guest.ts";

const seconds = (count: number) => count * 1_000;
const lan = (script: string) => boxNamespace.run(["bash", "-ec", script]);

async function tellDoctor(name: string, stage: DoctorStage): Promise<void> {
  const { codes, output } = await stage.doctor(2);
  const states = (await stage.agents[1]?.status())?.probes?.paths.map(({ state }) => state) ?? [];
  const evidence = output.findings.map(({ evidence: [first] }) => first?.value);
  tell(name, {
    codes,
    states,
    evidence,
    suppressed: output.suppressed.map(({ code }) => code),
    unknown: output.unknown,
  });
}

async function withStage(name: string, options: StageOptions, use: (stage: DoctorStage) => Promise<void>) {
  try {
    // The second kernel's tables are those of legacy iptables.
    await using stage = await DoctorStage.open({
      ...options,
      args: ["--iptables-forward-rules=false", ...(options.args ?? [])],
    });
    await stage.untilProbes(2, ["up", "slow"]);
    await use(stage);
  } catch (error) {
    tell(name, { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

/** As many as a verdict on a path's quality looks back at, and one under way. */
const PROBES_JUDGED = 10;

/** The agent has probed through the tunnel that often since now: what it tells then is of now. */
async function untilProbedAnew(stage: DoctorStage): Promise<void> {
  const sent = async () => (await stage.agents[1]?.metric("flannel_probe_sent_total"))?.["kind=tunnel"] ?? 0;
  const before = await sent();
  await until(async () => (await sent()) >= before + PROBES_JUDGED, { what: `${PROBES_JUDGED} more probes` });
}

const NEIGHBOURS = 240;
const FLOWS = 300;
const TRACKED_MAX = "net.netfilter.nf_conntrack_max";

const secondPort = (host: string) =>
  `ip link add ${host}b type veth peer name eth1 netns ${host}; ip link set ${host}b master lan0 up`;

await withStage(
  "bond",
  {
    prepare: async () => {
      await lan(
        `${secondPort("h2")}; cd /; ip netns exec h2 bash -ec '
          ip link add bond0 type bond mode active-backup miimon 100; ip link set eth0 down; ip link set eth1 down
          ip address flush dev eth0; ip link set eth0 master bond0; ip link set eth1 master bond0; ip link set bond0 up
          ip address add 192.168.50.12/24 dev bond0; ip route add default via 192.168.50.1'`,
      );
    },
  },
  async (stage) => {
    await tellDoctor("bond", stage);
    await stage.run(2, "ip link set eth0 down");
    await stage.untilProbes(2, ["up", "slow"], seconds(2));
    await tellDoctor("bond with one port down", stage);
  },
);

await withStage("plain", {}, async (stage) => {
  await tellDoctor("plain", stage);
  await stage.run(
    2,
    "ip link add mgmt type vrf table 77; ip link set mgmt up; ip link add d0 type dummy; ip link set d0 master mgmt up; ip address add 198.51.100.2/24 dev d0; ip route add default via 198.51.100.1 dev d0 table 77",
  );
  await tellDoctor("a VRF beside", stage);
  await stage.run(2, "ip link del mgmt; ip link del d0");

  // Limits of the whole machine, which is this one's own. The rule has the kernel track what h2 sends.
  await stage.run(
    2,
    `iptables-legacy -A OUTPUT -m conntrack --ctstate INVALID; sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600
     bash -c 'for port in $(seq 2000 ${2000 + FLOWS}); do echo >/dev/udp/127.0.0.1/$port; done'`,
  );
  const limit = (await boxNamespace.run(["sysctl", "-n", TRACKED_MAX])).trim();
  await stage.run(0, `sysctl -qw ${TRACKED_MAX}=${FLOWS}`);
  await tellDoctor("conntrack full", stage);
  await stage.run(0, `sysctl -qw ${TRACKED_MAX}=${limit}`);
  await stage.run(2, "iptables-legacy -D OUTPUT -m conntrack --ctstate INVALID");
  await stage.untilProbes(2, ["up", "slow"]);

  await lan(
    `ip netns add elsewhere; ip -n elsewhere link add d0 type dummy; ip -n elsewhere link set d0 up
     for i in $(seq ${NEIGHBOURS}); do echo neigh add 10.98.0.$i lladdr 02:00:00:00:00:01 nud reachable dev d0; done | ip -n elsewhere -batch -
     cd /proc/sys/net/ipv4/neigh/default; cat gc_thresh2 >/run/thresh2; cat gc_thresh3 >/run/thresh3
     echo ${NEIGHBOURS} >gc_thresh2; echo ${NEIGHBOURS} >gc_thresh3`,
  );
  await tellDoctor("neighbours full", stage);
  await lan(
    "cd /proc/sys/net/ipv4/neigh/default; cat /run/thresh3 >gc_thresh3; cat /run/thresh2 >gc_thresh2; ip netns del elsewhere",
  );

  const anything = ["up", "slow"];
  for (const [name, words, states] of [
    ["delay of 200 ms", "delay 200ms", ["slow"]],
    ["jitter", "delay 60ms 30ms", anything],
    ["reordering", "delay 20ms reorder 25% 50%", anything],
  ] as const) {
    await stage.run(0, `tc qdisc add dev h2 root netem ${words}`);
    await untilProbedAnew(stage);
    await stage.untilProbes(2, states);
    await tellDoctor(name, stage);
    await stage.run(0, "tc qdisc del dev h2 root");
  }
});

await withStage(
  "VRF with the underlay inside",
  {
    args: ["--iface=eth0"],
    prepare: async () => {
      for (const number of [1, 2]) {
        await lan(
          `ip netns exec h${number} bash -ec '
            sysctl -qw net.ipv4.tcp_l3mdev_accept=1 net.ipv4.udp_l3mdev_accept=1
            ip link add blue type vrf table 10; ip link set blue up; ip link set eth0 master blue
            ip route add default via 192.168.50.1 table 10; ip route add 192.168.50.0/24 dev eth0; ip route add default via 192.168.50.1 dev eth0 onlink'`,
        );
      }
    },
  },
  async (stage) => {
    await until(async () => (await stage.agents[1]?.status()) !== undefined, { what: "the status" });
    await tellDoctor("VRF with the underlay inside", stage);
  },
);
tell("done", true);
