// Runs on a kernel with bonds, VRFs, delays and limits of its own (user-mode-linux): hosts that are in order although they look odd, and
// what only the first network namespace of a machine can have. Prints one line of JSON for each question; doctor-kernel.test.ts judges.
import { writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { boxNamespace } from "../../../lab/namespace.ts";
import { DoctorStage } from "../../support/doctor-stage.ts";

const program = fileURLToPath(new URL("../../../dist/flannelctl.mjs", import.meta.url));

/** At once: what a console has not written yet is lost with the guest. */
const tell = (name: string, value: unknown): void => {
  writeSync(1, `${JSON.stringify({ [name]: value })}\n`);
};

const bond = [
  "modprobe bonding; modprobe vrf; modprobe sch_netem",
  "ip addr flush dev eth0; ip link set eth0 down",
  "ip link add bond0 type bond mode active-backup miimon 100; ip link set eth0 master bond0; ip link set bond0 up",
  "ip addr add 192.168.50.12/24 dev bond0; ip route add default via 192.168.50.1",
].join("; ");

// This kernel has no nf_tables of the family ip.
await using stage = await DoctorStage.open({ args: ["--iptables-forward-rules=false"], prepare: bond });

async function ask(name: string, make: string, undo: string): Promise<void> {
  await stage.run(2, make);
  const { codes, output } = await stage.doctor(2);
  tell(name, { codes, seen: output.findings.map(({ evidence }) => evidence[0]?.value), unknown: output.unknown });
  await stage.run(2, undo);
}

await ask("bond", "true", "true");
await ask(
  "vrf",
  "ip link add red type vrf table 77; ip link set red up; ip link add r0 type veth peer name r1; ip link set r0 master red up; ip link set r1 up; ip addr add 172.30.0.1/24 dev r0",
  "ip link del r0; ip link del red",
);
await ask("delay", "tc qdisc add dev bond0 root netem delay 40ms 5ms", "tc qdisc del dev bond0 root");

// Connections are counted for each namespace; the limit is of the machine.
await stage.run(2, "iptables-legacy -A INPUT -m conntrack --ctstate INVALID -j ACCEPT");
await boxNamespace.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_max=48"]);
const flood = "for port in $(seq 20001 20064); do echo x >/dev/udp/192.168.50.11/$port; done";
await ask(
  "conntrack-full",
  `bash -c '${flood}' 2>/dev/null || true`,
  "iptables-legacy -F INPUT; conntrack -F 2>/dev/null || true",
);
await boxNamespace.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_max=65536"]);

await boxNamespace.run(["sysctl", "-qw", "net.ipv4.neigh.default.gc_thresh3=24"]);
const neighbours = Array.from(
  { length: 23 },
  (_, at) =>
    `neigh replace 192.168.50.${100 + at} lladdr 02:00:00:00:01:${(16 + at).toString(16)} nud reachable dev lan0`,
);
await boxNamespace.ipBatch(neighbours);
const { stdout } = await boxNamespace.tryRun([
  ...[
    process.execPath,
    program,
    "--subnet-file=/run/nobody/subnet.env",
    "--state-dir=/run/nobody",
    "--json",
    "doctor",
    "--timeout=60",
  ],
]);
const { findings } = JSON.parse(stdout) as { findings: { code: string }[] };
tell(
  "neighbour-gc",
  findings.map(({ code }) => code),
);
tell("done", true);
