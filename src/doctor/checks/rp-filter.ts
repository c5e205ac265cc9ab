// Whether strict reverse path filtering drops packets now. Strict alone is no trouble: most hosts of some distributions are.
import { carriesTraffic, defineCheck } from "../check.ts";
import { setSysctl } from "../fix-step.ts";
import { rpFilterKeyOf } from "../host-facts.ts";

export const rpFilter = defineCheck({
  name: "rp-filter-strict",
  severity: "error",
  needs: ["sysctls", "counters"],
  appliesTo: (context) => carriesTraffic(context) && context.families.has(4),
  /** The kernel takes the larger of `all` and the device's own value; 1 is strict, 2 is loose. */
  check: ({ externalInterface, devices }, { sysctls, counters }) => {
    const growth = counters.get("TcpExt.IPReversePathFilter")?.growth ?? 0;
    if (growth === 0) return [];
    const all = Number(sysctls.get(rpFilterKeyOf("all")) ?? 0);
    const strict = [externalInterface.name, ...devices].filter(
      (device) => Math.max(all, Number(sysctls.get(rpFilterKeyOf(device)) ?? 0)) === 1,
    );
    return strict.length === 0 ? [] : [{ strict, growth }];
  },
  evidence: ({ strict, growth }) =>
    `reverse path filtering is strict on ${strict.join(", ")}, and the kernel dropped ${growth} packets by it in half a second ` +
    "(IPReversePathFilter in nstat)",
  // 2 in `all` outweighs a device's 1, also on devices that are made later.
  remedy: () => "sysctl -w net.ipv4.conf.all.rp_filter=2",
  fix: () => [setSysctl(rpFilterKeyOf("all"), "2")],
});
