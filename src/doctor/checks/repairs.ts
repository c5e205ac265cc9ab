// Whether another program keeps undoing what the agent does: judged by what the agent had to repair. One reload of a firewall or
// one link that went down is no trouble.

import type { AgentFacts } from "../agent-facts.ts";
import { defineCheck } from "../check.ts";

const RECENT_MS = 10 * 60_000;
/** Repairs at different moments. */
const MIN_ROUNDS = 3;
/** What was undone at once is put back within this. */
export const ROUND_MS = 2_000;

interface Rounds {
  readonly count: number;
  readonly object: string;
  readonly periodSeconds: number | undefined;
}

/** As printed by the engines of traffic rules; objects of the kernel may name the device flannel.1 and a routing table. */
const isRule = (object: string): boolean =>
  /^(ip6?tables|nft|ebtables)\b|\bFLANNEL-|\bchain\b|\brule in\b/.test(object);

/** Whoever changes a setting, again and again, is no network manager. */
const isSetting = (object: string): boolean => /^net[./]/.test(object);

function roundsOf({ repairs }: AgentFacts, isCounted: (object: string) => boolean, nowMs: number): Rounds | undefined {
  const counted = repairs.filter(({ object, atMs }) => isCounted(object) && nowMs - atMs < RECENT_MS);
  const starts: number[] = [];
  for (const { atMs } of counted) if (atMs - (starts.at(-1) ?? Number.NEGATIVE_INFINITY) > ROUND_MS) starts.push(atMs);
  if (starts.length < MIN_ROUNDS) return undefined;
  const gaps = starts.slice(1).map((at, index) => at - (starts[index] ?? at));
  const median = gaps.toSorted((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? 0;
  const isPeriodic = gaps.every((gap) => Math.abs(gap - median) <= Math.max(1_000, median / 3));
  return {
    count: starts.length,
    object: counted.at(-1)?.object ?? "",
    periodSeconds: isPeriodic ? Math.round(median / 1_000) : undefined,
  };
}

function howOften({ count, object, periodSeconds }: Rounds): string {
  const how = periodSeconds === undefined ? "" : `, about every ${periodSeconds} s`;
  return `${count} times in the last minutes${how}, the last one: ${object}`;
}

const common = { severity: "warning", needs: ["agent"] } as const;

export const rulesFlushed = defineCheck({
  ...common,
  name: "rules-flushed",
  check: (_context, { agent }) => [roundsOf(agent, isRule, Date.now())].filter((found) => found !== undefined),
  evidence: (rounds) => `another program removed traffic rules of flannel ${howOften(rounds)}`,
  remedy: ({ periodSeconds }) =>
    periodSeconds === undefined
      ? "nft monitor # names what removes them; have it leave flannel's chains alone"
      : "look for a timer or a configuration management job with this period, and have it leave flannel's chains alone",
});

export const networkManagerFlush = defineCheck({
  ...common,
  name: "network-manager-flush",
  check: (_context, { agent }) => {
    const rounds = roundsOf(agent, (object) => !isRule(object) && !isSetting(object), Date.now());
    return rounds === undefined ? [] : [{ ...rounds, manager: agent.networkManager }];
  },
  evidence: ({ manager, ...rounds }) =>
    `another program removed flannel's objects ${howOften(rounds)}${manager === undefined ? "" : `; ${manager} runs here`}`,
  remedy: ({ manager }) =>
    manager === "NetworkManager"
      ? "write unmanaged-devices=interface-name:flannel*;interface-name:cni* into [keyfile] of /etc/NetworkManager/conf.d/flannel.conf, then systemctl reload NetworkManager"
      : "write /etc/systemd/network/10-flannel.network with [Match] Name=flannel* cni* and [Link] Unmanaged=yes, and ManageForeignRoutes=no in networkd.conf, then networkctl reload",
});
