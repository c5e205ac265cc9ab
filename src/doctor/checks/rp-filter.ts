// Whether reverse path filtering is strict where packets of containers arrive.
import { carriesTraffic, defineCheck } from "../check.ts";
import { rpFilterKeyOf } from "../host-facts.ts";

export const rpFilter = defineCheck({
  name: "rp-filter",
  severity: "warning",
  needs: ["sysctls"],
  appliesTo: (context) => carriesTraffic(context) && context.families.has(4),
  /** The kernel takes the larger of `all` and the device's own value; 1 is strict, 2 is loose. */
  check: ({ externalInterface, devices }, { sysctls }) => {
    const all = Number(sysctls.get(rpFilterKeyOf("all")) ?? 0);
    const strict = [externalInterface.name, ...devices].filter(
      (device) => Math.max(all, Number(sysctls.get(rpFilterKeyOf(device)) ?? 0)) === 1,
    );
    return strict.length === 0 ? [] : [strict];
  },
  evidence: (devices) =>
    `strict reverse path filtering on ${devices.join(", ")}: the kernel drops packets whose replies would leave through ` +
    "another interface, and only counts them (IPReversePathFilter in nstat)",
  // 2 in `all` outweighs a device's 1, also on devices that are made later.
  remedy: () => "sysctl -w net.ipv4.conf.all.rp_filter=2",
});
