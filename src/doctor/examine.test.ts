import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../test/support/fuzz.ts";
import { parsePrefix } from "../ip/address.ts";
import { type CauseName, causeNames, causeOf } from "./causes.ts";
import { type CheckContext, defineCheck } from "./check.ts";
import { checks, preflightChecks } from "./checks.ts";
import { examine, inOrder } from "./examine.ts";
import type { Finding } from "./finding.ts";
import { readReply } from "./gather/echoes.ts";
import { masqueradesOf, tooBigDropsOf } from "./gather/rule-texts.ts";
import { noFacts } from "./host-facts.ts";

const context: CheckContext = {
  ...{ families: new Set([4]), networks: [], ownSubnets: [], earlierSubnets: [], devices: [] },
  externalInterface: { name: "eth0", index: 2, mtuBytes: 1500, isUp: true },
  overlayMtuBytes: 1450,
  needs: { carriesTraffic: true },
};

function check(name: CauseName, needs: "sysctls" | "links" | "disks") {
  return defineCheck({
    ...{ name, severity: "error", needs: [needs] },
    check: () => [name],
    evidence: (what) => what,
    remedy: () => "",
  });
}

function finding(name: CauseName, severity: Finding["severity"] = "error"): Finding {
  return { name, severity, evidence: `${name} seen`, remedy: "mend it" };
}

describe("isolation", () => {
  test("a fact that fails or hangs costs its own checks alone, and is reported", async () => {
    const list = [check("disk-full", "disks"), check("vxlan-clash", "links"), check("ip-forward-off", "sysctls")];
    const gatherers = {
      sysctls: () => new Map<string, string>(),
      links: () => Promise.reject(new Error("no netlink here")),
      disks: () => new Promise<never>(() => undefined),
    };
    const { findings, unknown, checked } = await examine(context, list, gatherers, { limitMs: 30 });
    expect(findings.map(({ name }) => name)).toEqual(["ip-forward-off"]);
    expect(unknown).toEqual([
      { name: "disk-full", reason: "no answer within 0.03 s" },
      { name: "vxlan-clash", reason: "no netlink here" },
    ]);
    expect(checked).toBe(3);
  });

  test("a check that throws, and a fact that nobody can gather, are unknown", async () => {
    const broken = defineCheck({
      ...{ name: "disk-full", severity: "error", needs: ["disks"] },
      check: (): string[] => {
        throw new Error("odd disks");
      },
      evidence: () => "",
      remedy: () => "",
    });
    const list = [broken, check("vxlan-clash", "links")];
    const { unknown } = await examine(context, list, { disks: () => [] }, { limitMs: 1_000 });
    expect(unknown.map(({ reason }) => reason)).toEqual(["odd disks", "it cannot be looked at here"]);
  });

  test("what the agent found is taken as well, once", async () => {
    const others = [finding("ip-forward-off"), finding("configuration", "warning")];
    const gatherers = { sysctls: () => new Map<string, string>() };
    const { findings } = await examine(context, [check("ip-forward-off", "sysctls")], gatherers, {
      limitMs: 1_000,
      others,
    });
    expect(findings.map(({ name, evidence }) => [name, evidence.length])).toEqual([
      ["ip-forward-off", 1],
      ["configuration", 1],
    ]);
  });
});

describe("order", () => {
  test("the root comes first, and takes what it brings about", () => {
    const { findings, explained } = inOrder([
      finding("peer-unreachable"),
      finding("rules-flushed", "warning"),
      finding("ip-forward-off"),
      finding("device-sysctl-off"),
    ]);
    expect(findings.map(({ name }) => name)).toEqual(["ip-forward-off", "rules-flushed"]);
    expect(findings[0]?.explains).toEqual(["device-sysctl-off", "peer-unreachable"]);
    expect(explained.every(({ by }) => by === "ip-forward-off")).toBe(true);
  });

  test("of whatever was found nothing is lost, nothing is reported twice, and somebody is to blame", () => {
    const some = fc.array(
      fc.record({ name: fc.constantFrom(...causeNames), severity: fc.constantFrom("error", "warning" as const) }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(some, (list) => {
        const found = list.map(({ name, severity }) => finding(name, severity === "error" ? "error" : "warning"));
        const { findings, explained } = inOrder(found);
        const told = [...findings, ...explained.map((each) => each.finding)].map(({ name }) => name);
        expect(told.toSorted()).toEqual([...new Set(found.map(({ name }) => name))].toSorted());
        expect(findings.length > 0).toBe(found.length > 0);
        for (const { finding: one, by } of explained) expect(causeOf(by)?.explains).toContain(one.name);
      }),
      propertyRuns(20_000),
    );
  });

  test("only causes are explained, and every check is of one", () => {
    const names: ReadonlySet<string> = new Set(causeNames);
    for (const name of causeNames) for (const each of causeOf(name)?.explains ?? []) expect(names).toContain(each);
    for (const { name } of checks) expect(names).toContain(name);
  });

  test("nothing is found where all facts are empty, and the agent's part is in the list", () => {
    for (const one of checks) if (one.appliesTo(context)) expect(one.run(context, noFacts)).toEqual([]);
    expect(preflightChecks.length).toBeGreaterThan(10);
    expect(checks).toEqual(expect.arrayContaining([...preflightChecks]));
  });
});

describe("what tools print", () => {
  test("ping of iputils and of busybox", () => {
    const of = (text: string, code = 0) => readReply(text, code);
    expect(of("2 packets transmitted, 2 received, 0% packet loss, time 200ms")).toMatchObject({
      result: "answered",
      answered: 2,
    });
    expect(of("2 packets transmitted, 0 packets received, 100% packet loss", 1)).toMatchObject({
      result: "lost",
      sent: 2,
    });
    expect(
      of(
        "From 192.168.50.1 icmp_seq=1 Frag needed and DF set (mtu = 1300)\n2 packets transmitted, 0 received, +1 errors",
        1,
      ),
    ).toEqual({ result: "lost", sent: 2, answered: 0, pathMtuBytes: 1300 });
    expect(of("ping: connect: Network is unreachable", 2)).toMatchObject({ result: "refused" });
    expect(of("usage", 2)).toMatchObject({ result: "unknown" });
  });

  test("rules that masquerade too much, before flannel's own", () => {
    const rules = (...nat: string[]) => masqueradesOf(new Map([["nat", nat]]), [parsePrefix("10.5.0.0/16")]);
    const wide = "-A POSTROUTING -j MASQUERADE";
    expect(rules(wide)).toEqual([wide]);
    expect(rules('-A POSTROUTING -s 10.0.0.0/8 -m comment --comment "all of it" -j MASQUERADE')).toHaveLength(1);
    for (const narrow of [
      "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
      "-A POSTROUTING -o eth0 -j MASQUERADE",
      "-A POSTROUTING -s 10.5.1.0/24 -j MASQUERADE",
      "-A POSTROUTING -s 10.5.0.0/16 ! -d 10.5.0.0/16 -j MASQUERADE",
      "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
    ]) {
      expect(rules(narrow)).toEqual([]);
    }
    expect(rules("-A POSTROUTING -j FLANNEL-POSTRTG", wide)).toEqual([]);
  });

  test("rules that drop the message that a packet was too big", () => {
    const drop = "-A OUTPUT -p icmp -m icmp --icmp-type 3/4 -j DROP";
    const rules = new Map([["filter", [drop, "-A INPUT -p icmp -m icmp --icmp-type 8 -j DROP"]]]);
    expect(tooBigDropsOf(rules)).toEqual([drop]);
  });
});
