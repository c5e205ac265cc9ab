// Packets between containers on one bridge pass iptables only with the module br_netfilter; kube-proxy relies on it.
import { existsSync } from "node:fs";
import { findTool, tryTool } from "../sys/run-tool.ts";

const switchFile = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/** Loads the module when it is missing. What is wrong and how to cure it; undefined when all is well. */
export async function bridgeNetfilterProblem(): Promise<string | undefined> {
  if (existsSync(switchFile)) return undefined;
  const modprobe = findTool("modprobe");
  const said = modprobe === undefined ? undefined : await tryTool(modprobe, ["br_netfilter"]).catch(() => undefined);
  if (existsSync(switchFile)) return undefined;
  const words = said?.stderr.trim().split("\n")[0] || "the module could not be loaded";
  return (
    `the kernel module br_netfilter is missing (${words}): packets between containers on one bridge bypass ` +
    "iptables, but services of kube-proxy need it; load the module with: modprobe br_netfilter"
  );
}
