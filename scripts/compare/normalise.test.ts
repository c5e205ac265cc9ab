// What the comparison of builds takes for the same, and what it must not.
import { expect, it } from "vitest";
import { type KnownAddress, normalise } from "./normalise.ts";

function seen(text: string, options: { isSet?: boolean; addresses?: readonly KnownAddress[] } = {}): string {
  const { isSet = false, addresses = [] } = options;
  return normalise({ name: "", text, isSet }, { addresses, buildDirectory: "/builds/a" });
}

it.each([
  ["flanneld 0.1.0 (pid 51, up 2 s): ready", "flanneld 0.1.0 (pid 7, up 1 min 3 s): ready"],
  ['"startedAt": "2026-11-30T00:28:15.733Z"', '"startedAt": "2027-01-01T10:00:00Z"'],
  ['"ageSeconds": 1.14,', '"ageSeconds": 0,'],
  ['"storeLeaseId": "4788912079416169237"', '"storeLeaseId": "4788912079416169299"'],
  ["counter packets 1 bytes 52 jump A", "counter packets 0 bytes 0 jump A"],
  [":FORWARD ACCEPT [12:340]", ":FORWARD ACCEPT [0:0]"],
])("%s is as good as %s", (one, other) => {
  expect(one).not.toBe(other);
  expect(seen(one)).toBe(seen(other));
});

it.each([
  ["10.5.2.0/24 via 10.5.2.0 dev flannel.1 onlink", "10.5.2.0/24 via 10.5.2.0 dev flannel.1"],
  ["flannel.1 mtu 1450", "flannel.1 mtu 1430"],
  ["10.5.2.0 dev flannel.1 lladdr ee:c4:fd:88:35:9a", "10.5.2.0 dev flannel.1 lladdr ea:a9:39:97:c3:ff"],
  ['"attempts": 0', '"attempts": 1'],
  ['"revision": "4"', '"revision": "5"'],
  ["(default: 60)", "(default: 30)"],
])("%s is not %s", (one, other) => {
  expect(seen(one)).not.toBe(seen(other));
});

it("names known addresses by their owner, and sorts sets afterwards", () => {
  const addresses = [
    { address: "ee:c4:fd:88:35:9a", owner: "h2 flannel.1" },
    { address: "aa:a9:39:97:c3:ff", owner: "h3 flannel.1" },
    { address: "fe80::ecc4:fdff:fe88:359a", owner: "h2 flannel.1" },
  ];
  const text = [
    "aa:a9:39:97:c3:ff dev flannel.1 dst 192.168.50.13",
    "ee:c4:fd:88:35:9a dev flannel.1 dst 192.168.50.12",
    "33:33:ff:88:35:9a dev eth0",
    "local fe80::ecc4:fdff:fe88:359a dev flannel.1",
  ];
  expect(seen(text.join("\n"), { isSet: true, addresses }).trim().split("\n")).toEqual([
    "33:33:ff:<end of mac h2 flannel.1> dev eth0",
    "<mac h2 flannel.1> dev flannel.1 dst 192.168.50.12",
    "<mac h3 flannel.1> dev flannel.1 dst 192.168.50.13",
    "local <link-local h2 flannel.1> dev flannel.1",
  ]);
});

it("knows where the build is", () => {
  expect(seen("run 'npm run build' in /builds/a")).toBe("run 'npm run build' in <build>");
});
