// Traffic rules that do harm without dropping flannel's packets, and the lock that rules wait for.
import { carriesTraffic, defineCheck } from "../check.ts";

export const lockHeld = defineCheck({
  name: "xtables-lock",
  severity: "warning",
  needs: ["lockHolder"],
  check: (_context, { lockHolder }) => (lockHolder === undefined ? [] : [lockHolder]),
  evidence: (holder) => `${holder} has held the lock of iptables (/run/xtables.lock) for longer than a second`,
  remedy: () => "wait for that program, or end it if it hangs; flannel writes its rules when the lock is free",
});

export const masqueradeWide = defineCheck({
  name: "masquerade-wrong",
  severity: "warning",
  needs: ["masqueradeRules"],
  appliesTo: carriesTraffic,
  check: (_context, { masqueradeRules }) => masqueradeRules.slice(0, 3),
  evidence: (rule) =>
    `the rule "${rule}" also masquerades packets between containers: others see this host's address as their source`,
  remedy: (rule, { networks }) =>
    `iptables -t nat ${rule.replace(/^-A (\S+)/, "-D $1")} # then add it again with ! -d ${networks[0] ?? "NETWORK"}`,
});

export const icmpFiltered = defineCheck({
  name: "icmp-filtered",
  severity: "warning",
  needs: ["echoDrops", "sysctls"],
  appliesTo: carriesTraffic,
  check: (_context, { echoDrops, sysctls }) => {
    if (sysctls.get("net/ipv4/icmp_echo_ignore_all") === "1") {
      return [{ what: "net.ipv4.icmp_echo_ignore_all = 1", cure: "sysctl -w net.ipv4.icmp_echo_ignore_all=0" }];
    }
    return echoDrops
      .filter(({ isCertain }) => isCertain)
      .slice(0, 1)
      .map(({ chain, by }) => ({
        what: `${chain} drops echo requests (${by})`,
        cure: "iptables -I INPUT -p icmp --icmp-type echo-request -j ACCEPT # in the program that owns the rule",
      }));
  },
  evidence: ({ what }) =>
    `this host answers no echo of its peers: ${what}; monitors take it for dead, packets of containers flow`,
  remedy: ({ cure }) => cure,
});

export const planDiffers = defineCheck({
  name: "peer-state-stale",
  severity: "error",
  needs: ["planDifference"],
  appliesTo: carriesTraffic,
  check: (_context, { planDifference }) => (planDifference.length === 0 ? [] : [planDifference]),
  evidence: ([first = "", ...others]) =>
    `the kernel differs from what the leases ask for: ${first}${others.length === 0 ? "" : ` and ${others.length} more`}`,
  remedy: () => "flannelctl plan # shows all of it; a running agent corrects it, else: systemctl restart flanneld",
});
