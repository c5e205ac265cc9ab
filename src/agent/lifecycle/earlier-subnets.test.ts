import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/address.ts";
import { EarlierSubnets, MAX_EARLIER_SUBNETS } from "./earlier-subnets.ts";

test("keeps what was before and not what is now, the newest last, and no more than it may", () => {
  const earlier = new EarlierSubnets([parsePrefix("10.5.1.0/24")]);
  earlier.add({ subnet: parsePrefix("10.5.2.0/24"), ipv6Subnet: parsePrefix("fd00::/64") });
  earlier.add({ subnet: parsePrefix("10.5.1.0/24") });
  earlier.add(undefined);
  expect(earlier.besides(undefined)).toEqual(["10.5.2.0/24", "fd00::/64", "10.5.1.0/24"]);
  expect(earlier.besides({ subnet: parsePrefix("10.5.1.0/25") })).toEqual(["10.5.2.0/24", "fd00::/64"]);
  for (let octet = 0; octet < 100; octet++) earlier.add({ subnet: parsePrefix(`10.6.${octet}.0/24`) });
  expect(earlier.besides(undefined)).toHaveLength(MAX_EARLIER_SUBNETS);
  expect(earlier.besides(undefined).at(-1)).toBe("10.6.99.0/24");
});
