// The firewall against real nft, iptables on nftables and legacy iptables.
import { execFileSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { Firewall, type FirewallOptions } from "../../src/firewall/firewall.ts";
import { removeRules } from "../../src/firewall/remove-rules.ts";
import { parseAddress, parsePrefix } from "../../src/ip/address.ts";
import { FileLock } from "../../src/sys/file-lock.ts";
import {
  breakShim,
  emptyEverything,
  generation,
  inputs,
  listRules,
  type Mode,
  networks,
  preparePath,
  scanned,
  takeCalls,
  untilAgreed,
} from "../support/firewall-fixture.ts";
import { recordingLogger } from "../support/host-fixture.ts";

let resources = new AsyncDisposableStack();
let log = recordingLogger();

beforeEach(() => {
  log = recordingLogger();
  resources = new AsyncDisposableStack();
});

afterEach(async () => {
  await resources.disposeAsync();
  await emptyEverything();
});

function openFirewall(mode: Mode, options: Partial<FirewallOptions> = {}): Firewall {
  const { signal } = new AbortController();
  const preferNftables = mode === "nftables";
  return resources.use(
    new Firewall({ preferNftables, suffix: "", networks, resyncMs: 500, logger: log.logger, signal, ...options }),
  );
}

/** Rules in place and looked at, as after a start of the agent. */
async function openSettled(mode: Mode, options: Partial<FirewallOptions> = {}, wanted = inputs): Promise<Firewall> {
  const firewall = openFirewall(mode, options);
  await firewall.setDesired(wanted);
  await untilAgreed(firewall);
  return firewall;
}

const masquerade4 = [
  "-m mark --mark 0x4000/0x4000 ~ -j RETURN",
  "-s 10.5.34.0/24 -d 10.5.0.0/16 ~ -j RETURN",
  "-s 10.5.0.0/16 -d 10.5.34.0/24 ~ -j RETURN",
  "! -s 10.5.0.0/16 -d 10.5.34.0/24 ~ -j RETURN",
  "-s 10.5.0.0/16 ! -d 224.0.0.0/4 ~ -j MASQUERADE --random-fully",
  "! -s 10.5.0.0/16 -d 10.5.0.0/16 ~ -j MASQUERADE --random-fully",
];
const forward4 = ["-s 10.5.0.0/16 ~ -j ACCEPT", "-d 10.5.0.0/16 ~ -j ACCEPT"];

function withComment(rules: readonly string[], chain: string, comment: string): string[] {
  return rules.map((rule) => `-A ${chain} ${rule.replace("~", `-m comment --comment "${comment}"`)}`);
}

function isOfFamily6(line: string): boolean {
  return line.includes("fd00:") || line.includes("ff00:");
}

describe.each(["nftables", "iptables-nft", "iptables-legacy"] as const)("%s", (mode) => {
  const tool = mode === "iptables-legacy" ? "iptables-legacy" : "iptables-nft";

  beforeAll(() => preparePath(mode));

  it("writes flannel's rules, and a second start changes nothing", async () => {
    const firewall = await openSettled(mode);
    expect(firewall.status()).toMatchObject({ mode, failures: [], repairs: { total: 0 } });
    const found = await listRules(mode);
    const ours = found.filter((line) => !isOfFamily6(line));
    if (mode === "nftables") {
      expect(ours).toContain("ip saddr != 10.5.0.0/16 ip daddr 10.5.34.0/24 return");
      expect(ours).toContain("ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random");
      expect(ours).toContain("type nat hook postrouting priority srcnat; policy accept;");
      expect(ours).toContain("ip saddr 10.5.0.0/16 accept");
    } else {
      expect(ours.filter((line) => line.startsWith("-A FLANNEL-POSTRTG")).slice(0, 6)).toEqual(
        withComment(masquerade4, "FLANNEL-POSTRTG", "flanneld masq"),
      );
      expect(ours.filter((line) => line.startsWith("-A FLANNEL-FWD"))).toEqual(
        withComment(forward4, "FLANNEL-FWD", "flanneld forward"),
      );
      expect(ours).toContain('-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG');
      expect(ours).toContain('-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD');
    }
    expect(found.filter((line) => line.includes("fd00:10:0:34::/64")).length).toBe(3);
    const before = generation();
    await firewall[Symbol.asyncDispose]();
    await openSettled(mode);
    expect(generation()).toBe(before);
    expect(await listRules(mode)).toEqual(found);
  });

  it("starts no program while nothing happens", async () => {
    await openSettled(mode, { resyncMs: 50 });
    // The kernel does not announce legacy iptables: it is read, and nothing else is called.
    const isExpected = (call: string) => mode === "iptables-legacy" && /^ip6?tables\S*-save -t/.test(call);
    const unexpected = async () => {
      takeCalls();
      await sleep(500); // ten looks at the kernel, which nothing shows
      return takeCalls().filter((call) => !isExpected(call));
    };
    await until(async () => (await unexpected()).length === 0, { what: "half a second without a program" });
  });

  const damage: Readonly<Record<string, readonly string[]>> = {
    "one rule deleted":
      mode === "nftables"
        ? [
            "sh",
            "-c",
            "nft delete rule ip flannel-ipv4 postrtg handle $(nft -a list chain ip flannel-ipv4 postrtg | sed -n 's/.*masquerade.*handle //p' | head -1)",
          ]
        : [tool, "-t", "nat", "-D", "FLANNEL-POSTRTG", "5"],
    "a chain emptied":
      mode === "nftables"
        ? ["nft", "flush", "chain", "ip6", "flannel-ipv6", "forward"]
        : [`${tool.replace("ip", "ip6")}`, "-F", "FLANNEL-FWD"],
    "a rule added at the top":
      mode === "nftables"
        ? ["nft", "insert", "rule", "ip", "flannel-ipv4", "forward", "drop"]
        : [tool, "-I", "FORWARD", "1", "-j", "DROP"],
    "the built-in chain flushed":
      mode === "nftables" ? ["nft", "delete", "table", "ip", "flannel-ipv4"] : [tool, "-t", "nat", "-F", "POSTROUTING"],
    "everything flushed":
      mode === "iptables-legacy"
        ? ["sh", "-c", "iptables-legacy -F; iptables-legacy -X; iptables-legacy -t nat -F; iptables-legacy -t nat -X"]
        : ["nft", "flush", "ruleset"],
  };

  // Of legacy tables the kernel announces nothing, so that nobody can tell ours from others'.
  if (mode !== "iptables-legacy") {
    it("starts no program for what others write elsewhere", async () => {
      const firewall = await openSettled(mode, { resyncMs: 0 });
      await box.nft("table ip other {\n  chain somebody {\n    ip saddr 1.2.3.4 drop\n  }\n}\n");
      await box.run([tool, "-t", "nat", "-N", "KUBE-SERVICES"]);
      /** The programs started for one repair, which comes after everything that was announced before. */
      const callsUpToRepair = async () => {
        const before = firewall.status().repairs.total;
        await box.run(damage["one rule deleted"] ?? []);
        await until(() => firewall.status().repairs.total > before, { what: "a repair" });
        await firewall.listing(); // behind the pass that repaired
        return takeCalls().filter((call) => !call.includes("KUBE-SERVICES"));
      };
      await callsUpToRepair(); // what the start left to look at
      const alone = await callsUpToRepair();
      for (let count = 0; count < 20; count++)
        await box.run([tool, "-t", "nat", "-A", "KUBE-SERVICES", "-s", `1.2.3.${count}`, "-j", "RETURN"]);
      expect((await callsUpToRepair()).length, alone.join("\n")).toBe(alone.length);
    });
  }

  it.each(Object.keys(damage))("heals at once: %s", async (name) => {
    const firewall = await openSettled(mode);
    const before = firewall.status().repairs.total;
    await box.run(damage[name] ?? []);
    const start = performance.now();
    await until(() => firewall.status().repairs.total > before, { what: "a repair" });
    expect(performance.now() - start).toBeLessThan(10_000);
    await untilAgreed(firewall);
    expect(log.lines.filter(({ event }) => event === "firewall.repaired").length).toBe(1);
    const [said] = log.lines.filter(({ event }) => event === "firewall.repaired");
    if (mode !== "iptables-legacy") expect(said?.message).toMatch(/^(nft|ip6?tables)\S* \(pid \d+\) changed/);
  });

  // Legacy tables are looked at every resync period only.
  if (mode !== "iptables-legacy") {
    it("heals at once however often one rule is deleted", async () => {
      const firewall = await openSettled(mode);
      const gapsMs: number[] = [];
      for (let i = 0; i < 12; i++) {
        const before = firewall.status().repairs.total;
        await box.run(damage["one rule deleted"] ?? []);
        const start = performance.now();
        await until(() => firewall.status().repairs.total > before, { what: "a repair" });
        gapsMs.push(performance.now() - start);
        await untilAgreed(firewall);
      }
      // A busy machine may hold up a few; a rest after some repairs would hold up half of them.
      expect(gapsMs.toSorted((a, b) => a - b)[7]).toBeLessThan(1_500);
      const told = log.lines.filter(({ event }) => event === "firewall.repaired").map(({ message }) => message);
      expect(told).toHaveLength(6);
      expect(told.at(-1)).toMatch(/^(nft|ip6?tables)\S* \(pid \d+\) keeps changing flannel's traffic rules/);
    });
  }

  it("removes masquerading when it is turned off, and forwarding when that is", async () => {
    const firewall = await openSettled(mode);
    await firewall.setDesired({ ...inputs, masquerade: false });
    await untilAgreed(firewall);
    const withoutMasquerade = (await listRules(mode)).join("\n");
    expect(withoutMasquerade).not.toMatch(/postrtg|FLANNEL-POSTRTG|masq/);
    expect(withoutMasquerade).toContain("10.5.0.0/16");
    await firewall.setDesired({ ...inputs, masquerade: false, forward: false });
    await untilAgreed(firewall);
    expect((await listRules(mode)).join("\n")).not.toMatch(/flannel|10\.5\.|fd00/i);
  });

  it("limits the MSS of TCP while paths are narrow, heals that, and leaves nothing of it", async () => {
    const firewall = await openSettled(mode);
    const ours = async () => (await firewall.listing()).found.filter((line) => /clamp|FLANNEL-MSS/.test(line));
    expect(await ours()).toEqual([]);
    await firewall.setDesired({ ...inputs, clampsMss: true });
    expect(firewall.status().failures).toEqual([]);
    await untilAgreed(firewall);
    const written = await ours();
    expect(written.some((line) => /clamp-mss-to-pmtu|maxseg size set rt mtu/.test(line))).toBe(true);
    await firewall.setDesired(inputs);
    await untilAgreed(firewall);
    expect(await ours()).toEqual([]);
  });

  it("leaves out what MasqueradeExclude names, and changes one element for one node", async () => {
    const excludedPrefixes = [parsePrefix("172.16.0.0/12"), parsePrefix("fd99::/16")];
    const nodes = ["192.168.50.11", "192.168.50.12", "fd00:50::12"].map(parseAddress);
    const firewall = await openSettled(mode, {}, { ...inputs, excludedPrefixes, nodes });
    const text = (await listRules(mode)).join("\n");
    expect(text).toContain("172.16.0.0/12");
    expect(text).toContain("fd99::/16");
    const members = async () => (mode === "nftables" ? (await listRules(mode)).join("\n") : box.run(["ipset", "save"]));
    for (const node of nodes) expect(await members()).toContain(node);
    const before = await listRules(mode);
    await firewall.setDesired({
      ...inputs,
      excludedPrefixes,
      nodes: [...nodes.slice(1), parseAddress("192.168.50.13")],
    });
    await untilAgreed(firewall);
    expect(await members()).toContain("192.168.50.13");
    expect(await members()).not.toContain("192.168.50.11");
    if (mode !== "nftables") expect(await listRules(mode)).toEqual(before);
    await firewall.setDesired(inputs);
    await untilAgreed(firewall);
    expect(await box.run(["ipset", "save"])).toBe("");
  });

  it("takes over what upstream and flannel before v0.8 left", async () => {
    for (const rule of [
      "-s 10.5.0.0/16 -d 10.5.0.0/16 -j RETURN",
      "-s 10.5.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE",
      "! -s 10.5.0.0/16 -d 10.5.0.0/16 -j MASQUERADE",
    ]) {
      await box.run([tool, "-t", "nat", "-A", "POSTROUTING", ...rule.split(" ")]);
    }
    await box.run([tool, "-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE"]);
    await box.run([tool, "-N", "FLANNEL-FWD"]);
    await box.run([tool, "-A", "FLANNEL-FWD", "-s", "10.5.0.0/16", "-j", "ACCEPT"]);
    await box.run([tool, "-A", "FORWARD", "-j", "FLANNEL-FWD"]);
    await box.nft(
      "table ip flannel-ipv4 {\n  chain postrtg {\n    type nat hook postrouting priority 100;\n    ip saddr 10.5.0.0/16 masquerade\n  }\n}\n",
    );
    await openSettled(mode);
    const rules = await listRules(tool === "iptables-nft" ? "iptables-nft" : "iptables-legacy");
    expect(
      rules.filter((line) => line.startsWith("-A POSTROUTING")).filter((line) => !line.includes("FLANNEL")),
    ).toEqual(["-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE"]);
    if (mode === "nftables") expect(rules.join("\n")).not.toContain("FLANNEL");
    else {
      expect(rules.filter((line) => line.includes("-j FLANNEL-FWD") && line.startsWith("-A FORWARD")).length).toBe(2); // one for each family
      expect(await box.run(["nft", "list", "tables"])).not.toContain("flannel");
    }
  });
});

it("without ipset every node has a rule of its own", async () => {
  preparePath("iptables-nft");
  breakShim("ipset");
  const nodes = [parseAddress("192.168.50.11"), parseAddress("192.168.50.12")];
  await openSettled("iptables-nft", {}, { ...inputs, nodes });
  const rules = (await listRules("iptables-nft")).filter((line) => line.includes("-d 192.168.50."));
  expect(rules.map((line) => line.split(" ")[5])).toEqual(["192.168.50.11/32", "192.168.50.12/32"]);
});

it("is removed from wherever it is, and nothing else is", async () => {
  for (const mode of ["nftables", "iptables-nft", "iptables-legacy"] as const) {
    preparePath(mode);
    await box.run([mode === "iptables-legacy" ? "iptables-legacy" : "iptables-nft", "-A", "FORWARD", "-j", "ACCEPT"]);
    await using firewall = await openSettled(mode);
    const { found } = await firewall.listing();
    await firewall[Symbol.asyncDispose]();
    const options = { suffix: "", networks, isDryRun: true };
    expect((await removeRules(options)).removed).toEqual(found);
    expect((await removeRules({ ...options, isDryRun: false })).removed).toEqual(found);
    expect(await removeRules(options)).toEqual({ removed: [], failures: [] });
    expect((await listRules(mode)).join("\n")).not.toMatch(/flannel/i);
    if (mode !== "nftables") expect(await listRules(mode)).toContain("-A FORWARD -j ACCEPT");
  }
});

it.each(["nftables", "iptables-nft"] as const)("two agents on one host leave each other alone (%s)", async (mode) => {
  preparePath(mode);
  const other = { ...inputs, families: [{ network: parsePrefix("10.9.0.0/16"), subnet: parsePrefix("10.9.1.0/24") }] };
  const first = await openSettled(mode);
  const second = await openSettled(mode, { suffix: "-a1b2c3", networks: [parsePrefix("10.9.0.0/16")] }, other);
  await untilAgreed(first);
  // What each does about the other's writes comes before what it does about a stranger's, which is waited for.
  for (const [firewall, suffix] of [
    [first, ""],
    [second, "-a1b2c3"],
  ] as const) {
    const forward =
      mode === "nftables"
        ? ["nft", "flush", "chain", "ip", `flannel-ipv4${suffix}`, "forward"]
        : ["iptables-nft", "-F", `FLANNEL-FWD${suffix}`];
    await box.run(forward);
    await until(() => firewall.status().repairs.total > 0, { what: "a repair" });
  }
  await untilAgreed(first);
  await untilAgreed(second);
  expect([first, second].map((firewall) => firewall.status().repairs.total)).toEqual([2, 2]); // the two accepts
  expect(await removeRules({ suffix: "-a1b2c3", networks: [], isDryRun: false })).toMatchObject({ failures: [] });
  await untilAgreed(first);
  expect(first.status().repairs.total).toBe(2);
});

it("moves from mode to mode without leaving anything", async () => {
  for (const mode of ["iptables-nft", "nftables", "iptables-legacy", "nftables", "iptables-nft"] as const) {
    preparePath(mode);
    await using firewall = await openSettled(mode, {}, { ...inputs, nodes: [parseAddress("192.168.50.12")] });
    expect(firewall.status()).toMatchObject({ mode, failures: [] });
    for (const other of ["nftables", "iptables-nft", "iptables-legacy"] as const) {
      const marks = other === "nftables" ? /flannel-ipv/ : /FLANNEL/;
      expect(marks.test((await listRules(other)).join("\n")), `${other} in mode ${mode}`).toBe(other === mode);
    }
  }
});

it("names the chains that drop whatever we accept, with the rule", async () => {
  preparePath("nftables");
  const firewall = await openSettled("nftables", {}, { ...inputs, forward: false });
  await box.run(["iptables-nft", "-P", "FORWARD", "DROP"]);
  await box.nft(`table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority 10;
    ct state established accept
    counter reject with icmpx admin-prohibited
  }
}
table ip6 strict {
  chain everything {
    type filter hook forward priority 0; policy drop;
  }
}
`);
  const drops = (await firewall.packetDrops(scanned)).map(({ family, chain, by }) => [family, chain, by]);
  expect(drops).toEqual([
    [4, "iptables-nft FORWARD", "policy DROP"],
    ["both", "nft chain inet firewalld filter_FORWARD", 'rule "reject with icmpx admin-prohibited"'],
    [6, "nft chain ip6 strict everything", "policy DROP"],
  ]);
});

it("keeps its accept in iptables too where the policy is DROP, in nftables mode", async () => {
  preparePath("nftables");
  const firewall = await openSettled("nftables");
  await box.run(["iptables-nft", "-A", "FORWARD", "-s", "1.2.3.4", "-j", "DROP"]);
  await box.run(["iptables-nft", "-P", "FORWARD", "DROP"]);
  const jump = '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD';
  const rules = async () => (await listRules("iptables-nft")).filter((line) => line.startsWith("-A"));
  await until(async () => (await rules()).includes(jump), { what: "the jump" });
  expect((await rules())[0]).toBe(jump);
  expect(await firewall.packetDrops(scanned)).toEqual([]);
  await box.run(["iptables-nft", "-F", "FORWARD"]);
  await until(async () => (await rules()).includes(jump), { what: "the jump again" });
  await box.run(["iptables-nft", "-P", "FORWARD", "ACCEPT"]);
  await until(async () => (await rules()).length === 0, { what: "no rule of ours" });
});

it("notices a commit that it hears of after a pass that asked for the generation and read other places", async () => {
  preparePath("nftables");
  const firewall = await openSettled("nftables", { resyncMs: 0 });
  await box.run(["iptables-nft", "-A", "FORWARD", "-s", "1.2.3.4", "-j", "DROP"]);
  await box.run(["iptables-nft", "-P", "FORWARD", "DROP"]);
  const hasJump = async () => (await listRules("iptables-nft")).some((line) => line.endsWith("-j FLANNEL-FWD"));
  await until(hasJump, { what: "the jump" });
  await untilAgreed(firewall);
  // In one turn of the event loop: the kernel has told of the commit, and nobody has read it yet.
  execFileSync("iptables-nft", ["-F", "FORWARD"]);
  await firewall.setDesired(inputs);
  await until(hasJump, { what: "the jump again" });
});

it.each([
  ["nftables", "iptables-nft", ["nft"]],
  ["iptables-nft", "nftables", ["iptables", "iptables-nft", "iptables-legacy"]],
] as const)("in mode %s uses %s when the tool is missing, and says so", async (mode, instead, missing) => {
  preparePath(mode);
  for (const name of missing) breakShim(name);
  const firewall = await openSettled(mode);
  expect(firewall.status()).toMatchObject({
    mode: instead,
    warnings: [expect.stringContaining(`using ${instead}`)],
  });
});

it("without any tool misses only masquerading", async () => {
  preparePath("nftables");
  for (const name of ["nft", "iptables", "iptables-nft", "iptables-legacy"]) breakShim(name);
  const firewall = openFirewall("nftables");
  await firewall.setDesired({ ...inputs, masquerade: false });
  expect(firewall.status()).toMatchObject({ mode: "none", failures: [] });
  await firewall.setDesired(inputs);
  expect(firewall.status().failures).toHaveLength(1);
});

it("looks again for tools that it did not find, and writes the rules with what has come", async () => {
  preparePath("nftables");
  for (const name of ["nft", "iptables", "iptables-nft", "iptables-legacy"]) breakShim(name);
  const firewall = openFirewall("nftables");
  await firewall.setDesired(inputs);
  expect(firewall.status().mode).toBe("none");
  preparePath("nftables");
  await until(() => firewall.status().mode === "nftables", { what: "the tools to be found" });
  await untilAgreed(firewall);
  expect(firewall.status().failures).toEqual([]);
});

it("names the lock of iptables and its holder while a repair waits for it, and waits itself for nothing", async () => {
  preparePath("iptables-legacy");
  const firewall = await openSettled("iptables-legacy", { resyncMs: 100 });
  {
    using _lock = FileLock.acquire("/run/xtables.lock");
    // Without iptables, which would wait for the lock, too.
    await box.run(["iptables-legacy-restore", "--noflush"], {
      input: "*filter\n-F FLANNEL-FWD\nCOMMIT\n",
      env: { PATH: process.env["PATH"] ?? "", XTABLES_LOCKFILE: "/run/another.lock" },
    });
    await until(() => firewall.status().waitsFor !== undefined, { what: "the name of the lock" });
    expect(firewall.status().waitsFor).toMatch(/^iptables waits for \/run\/xtables.lock, which .+ \(pid \d+\) holds$/);
    expect((await firewall.listing()).difference).toHaveLength(2);
    await until(() => firewall.status().failures.length > 0, { what: "the failed repair" });
    expect(firewall.status().failures[0]?.error).toContain("iptables waits for /run/xtables.lock");
  }
  await untilAgreed(firewall);
  await until(() => firewall.status().waitsFor === undefined && firewall.status().failures.length === 0, {
    what: "the repair",
  });
});
