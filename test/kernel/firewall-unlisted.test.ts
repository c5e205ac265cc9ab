// Tables of iptables in which others have rules that only nft understands: read by nft, or left alone.
import { afterEach, beforeEach, expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";
import { until } from "../../lab/wait.ts";
import { Firewall } from "../../src/firewall/firewall.ts";
import { removeRules } from "../../src/firewall/remove-rules.ts";
import {
  breakShim,
  emptyEverything,
  generation,
  inputs,
  type Mode,
  networks,
  preparePath,
  scanned,
  untilAgreed,
} from "../support/firewall-fixture.ts";
import { recordingLogger } from "../support/host-fixture.ts";

const foreign = ["ip", "ip6"].map(
  (family) => `table ${family} filter {
  chain FORWARD {
    type filter hook forward priority 0; policy drop;
    ct state vmap { established : accept, related : accept }
  }
}
table ${family} nat {
  chain prerouting {
    type nat hook prerouting priority -100;
  }
  chain POSTROUTING {
    type nat hook postrouting priority 100;
    ct state vmap { established : accept }
    meta mark set numgen random mod 2
  }
}
`,
);

let resources = new AsyncDisposableStack();
let log = recordingLogger();

beforeEach(async () => {
  log = recordingLogger();
  resources = new AsyncDisposableStack();
});

afterEach(async () => {
  await resources.disposeAsync();
  preparePath("iptables-nft");
  await emptyEverything();
});

function openFirewall(mode: Mode): Firewall {
  const { signal } = new AbortController();
  const options = { suffix: "", networks, resyncMs: 100, logger: log.logger, signal };
  return resources.use(new Firewall({ preferNftables: mode === "nftables", ...options }));
}

async function ruleset(): Promise<string> {
  return (await box.run(["nft", "-s", "list", "ruleset"])).replaceAll(/^# Warning.*\n/gm, "");
}

/** Rules of the chain, in order, as far as they show which they are. */
async function chain(family: string, table: string, name: string): Promise<string[]> {
  const text = await box.run(["nft", "-s", "list", "chain", family, table, name]);
  const rules = text.split("\n").map((line) => line.trim());
  return rules
    .filter((line) => /jump|vmap|numgen|accept$/.test(line))
    .map((line) => line.split(" ").slice(-2).join(" "));
}

const jump = "jump FLANNEL-FWD";

it.each(["iptables-nft", "nftables"] as const)(
  "keeps its rules there, once, and takes them away (%s)",
  async (mode) => {
    preparePath(mode);
    for (const text of foreign) await box.nft(text);
    const before = await ruleset();
    const firewall = openFirewall(mode);
    await firewall.setDesired(inputs);
    await untilAgreed(firewall);
    expect(firewall.status()).toMatchObject({ mode, failures: [], unreadable: [] });
    for (const family of ["ip", "ip6"]) {
      expect((await chain(family, "filter", "FORWARD"))[0]).toBe(jump);
      expect(await chain(family, "filter", "FORWARD")).toHaveLength(2);
      expect(await chain(family, "filter", "FLANNEL-FWD")).toHaveLength(2);
      if (mode === "nftables") continue;
      expect((await chain(family, "nat", "POSTROUTING")).at(-1)).toBe("jump FLANNEL-POSTRTG");
      expect(await chain(family, "nat", "POSTROUTING")).toHaveLength(3);
    }

    // A second start and further looks write nothing.
    const settled = generation();
    await firewall[Symbol.asyncDispose]();
    const again = openFirewall(mode);
    await again.setDesired(inputs);
    await untilAgreed(again);
    expect(generation()).toBe(settled);

    const damages = [
      ["nft", "insert", "rule", "ip", "filter", "FORWARD", "ct state vmap { invalid : drop }"],
      ["iptables-nft", "-I", "FORWARD", "1", "-m", "comment", "--comment", "flanneld forward", "-j", "FLANNEL-FWD"],
      ["iptables-nft", "-A", "FORWARD", "-j", "FLANNEL-FWD"],
      ["nft", "add", "rule", "ip", "filter", "FLANNEL-FWD", "ct state vmap { invalid : drop }"],
      ["iptables-nft", "-F", "FLANNEL-FWD"],
      // As flannel before v0.8 wrote it.
      [
        "iptables-nft",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-s",
        "10.5.0.0/16",
        "!",
        "-d",
        "224.0.0.0/4",
        "-j",
        "MASQUERADE",
      ],
    ].filter((damage) => mode === "iptables-nft" || !damage.includes("nat"));
    for (const damage of damages) {
      const { total } = again.status().repairs;
      await box.run(damage);
      await until(() => again.status().repairs.total > total, { what: `a repair after ${damage.join(" ")}` });
      await untilAgreed(again);
      const rules = await chain("ip", "filter", "FORWARD");
      expect(rules.filter((rule) => rule === jump)).toHaveLength(1);
      expect(rules[0]).toBe(jump);
      expect(await chain("ip", "filter", "FLANNEL-FWD")).toHaveLength(2);
      expect(await box.run(["nft", "list", "chain", "ip", "nat", "POSTROUTING"])).not.toContain("224.0.0.0");
    }
    const invalid = /\n.*invalid.*(?=\n)/;
    await again[Symbol.asyncDispose]();

    expect(await removeRules({ suffix: "", networks, isDryRun: false })).toMatchObject({ failures: [] });
    // iptables makes its other built-in chains.
    const left = (await ruleset()).replace(invalid, "");
    expect(left).not.toMatch(/flannel/i);
    for (const line of before.split("\n")) expect(left.split("\n")).toContain(line);
  },
);

it("writes nothing where neither iptables nor nft lists the rules, and says so", async () => {
  preparePath("iptables-nft");
  for (const text of foreign) await box.nft(text);
  const before = generation();
  breakShim("nft");
  const firewall = openFirewall("iptables-nft");
  await firewall.setDesired(inputs);
  const { failures, unreadable } = firewall.status();
  expect(failures.map(({ scope }) => scope)).toEqual(["own", "own"]);
  expect(unreadable[0]).toContain("iptables does not list table ip nat");
  const drops = await firewall.packetDrops(scanned);
  expect(drops.map(({ chain, by }) => `${chain} ${by}`)).toEqual([
    "iptables-nft FORWARD policy DROP",
    "ip6tables-nft FORWARD policy DROP",
  ]);
  await firewall[Symbol.asyncDispose]();
  const removed = await removeRules({ suffix: "", networks, isDryRun: false });
  expect(removed.removed).toEqual([]);
  expect(removed.failures.map(({ object }) => object)).toEqual([
    "rules in nftables",
    "rules in iptables-nft 4",
    "rules in iptables-nft 6",
  ]);
  expect(generation()).toBe(before);
});

it("goes on when the table becomes unlisted, and when it is listed again", async () => {
  preparePath("iptables-nft");
  const firewall = openFirewall("iptables-nft");
  await firewall.setDesired(inputs);
  await untilAgreed(firewall);
  const { total } = firewall.status().repairs;
  await box.run(["nft", "insert", "rule", "ip", "filter", "FORWARD", "ct state vmap { established : accept }"]);
  await until(() => firewall.status().repairs.total > total, { what: "the jump first again" });
  await untilAgreed(firewall);
  expect((await chain("ip", "filter", "FORWARD"))[0]).toBe(jump);
  await box.run(["nft", "flush", "chain", "ip", "filter", "FORWARD"]);
  await until(async () => (await chain("ip", "filter", "FORWARD"))[0] === jump, { what: "the jump again" });
  await untilAgreed(firewall);
  expect(firewall.status()).toMatchObject({ failures: [], unreadable: [] });
});

it("chooses iptables on nftables by rules that it does not list", async () => {
  preparePath("iptables-legacy");
  await box.run(["iptables-legacy", "-L"]);
  for (const text of foreign) await box.nft(text);
  const firewall = openFirewall("iptables-nft");
  await firewall.setDesired(inputs);
  expect(firewall.status().mode).toBe("iptables-nft");
});

it("reads with nft where iptables lacks the extension of a foreign rule", async () => {
  preparePath("iptables-nft");
  await box.run(["sh", "-c", "mkdir -p /run/extensions && cp $(find /usr/lib -path '*/xtables/*.so') /run/extensions"]);
  await box.run(["rm", "/run/extensions/libxt_statistic.so"]);
  await box.run([
    "iptables-nft",
    "-A",
    "FORWARD",
    ..."-m statistic --mode random --probability 0.5 -j ACCEPT".split(" "),
  ]);
  process.env["XTABLES_LIBDIR"] = "/run/extensions";
  try {
    const firewall = openFirewall("iptables-nft");
    await firewall.setDesired(inputs);
    await untilAgreed(firewall);
    expect(firewall.status()).toMatchObject({ failures: [], unreadable: [] });
    const settled = generation();
    await firewall.setDesired({ ...inputs, excludedPrefixes: [] });
    await untilAgreed(firewall);
    expect(generation()).toBe(settled);
    await firewall[Symbol.asyncDispose]();
    expect(await removeRules({ suffix: "", networks, isDryRun: false })).toMatchObject({ failures: [] });
    expect(await ruleset()).not.toMatch(/flannel/i);
  } finally {
    delete process.env["XTABLES_LIBDIR"];
  }
});

it("says what to do where nft made a chain that iptables cannot use", async () => {
  preparePath("iptables-nft");
  await box.nft("table ip nat {\n  chain POSTROUTING {\n    type nat hook postrouting priority 101;\n  }\n}\n");
  const firewall = openFirewall("iptables-nft");
  await firewall.setDesired(inputs);
  const [failure] = firewall.status().failures;
  expect(failure?.error).toContain("another program made chain POSTROUTING with nft");
  expect(failure?.error).toContain("EnableNFTables");
});
