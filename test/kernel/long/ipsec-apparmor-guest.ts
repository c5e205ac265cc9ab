// Runs on a kernel that enforces AppArmor's profile of charon, with ESP or without: two agents with the ipsec backend go through what
// charon has to do for them. Prints one line of JSON for each question; ipsec-apparmor-kernel.test.ts asks and judges.
import { readFileSync } from "node:fs";
import { Cluster } from "../../../lab/cluster.ts";
import { run } from "../../../lab/command.ts";
import { charonPidOf, ipsecAgent, terminateAssociations } from "../../../lab/ipsec-host.ts";
import { pingAll, untilAllPing } from "../../../lab/probe.ts";
import { until } from "../../../lab/wait.ts";
import { tell } from "./guest.ts";

const configWith = (PSK: string) => ({ Network: "10.5.0.0/16", Backend: { Type: "ipsec", PSK } });

/** What AppArmor refused, as the kernel's log has it. */
const denied = async () =>
  (await run(["dmesg"])).split("\n").filter((line) => line.includes("apparmor=") && line.includes("DENIED"));

// The control of the test was refused: so the log tells.
const before = (await denied()).length;
tell("refusals are logged", before > 0);
await using cluster = await Cluster.start({
  ...{ hosts: 2, config: configWith("first-secret-".repeat(8)), launch: ipsecAgent },
});
const { host } = cluster.agent(1);
await untilAllPing(cluster.pods);
const confinement = (pid: number) => readFileSync(`/proc/${pid}/attr/current`, "utf8").trim();
const pid = charonPidOf(host);
const status = await cluster.agent(1).status();

// Another key, new associations, a charon that died: with each it opens files and sockets again.
const applied = cluster.agents.map((agent) => agent.events("config.applied").length);
await cluster.etcd.put("/coreos.com/network/config", JSON.stringify(configWith("second-secret-".repeat(8))));
await Promise.all(cluster.agents.map((agent, at) => agent.untilEvent("config.applied", { after: applied[at] ?? 0 })));
await terminateAssociations(host);
await untilAllPing(cluster.pods);
process.kill(pid, "SIGKILL");
await until(() => charonPidOf(host) !== pid, { what: "another charon" });
await untilAllPing(cluster.pods);
await cluster.agent(1).kill9();
await cluster.startAgent(1).untilReady({ peers: 1 });

tell("at the end", {
  pairs: (await pingAll(cluster.pods)).filter(({ roundTripMs }) => roundTripMs !== undefined).length,
  encryption: status.dataPlane?.features?.["encryption"],
  confinement: cluster.agents.map((agent) => confinement(charonPidOf(agent.host))),
  denied: (await denied()).slice(before),
});
for (const agent of cluster.agents) process.kill(charonPidOf(agent.host), "SIGTERM");
