// Traffic rules beside 2,000 of others: how long they take to write, what they cost while nothing happens, how soon they
// are back when they are flushed.
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setTimeout as sleep } from "node:timers/promises";
import { boxNamespace as box } from "../lab/namespace.ts";
import { Firewall } from "../src/firewall/firewall.ts";
import type { RuleInputs } from "../src/firewall/plan-rules.ts";
import { parsePrefix } from "../src/ip/address.ts";
import { silentLogger } from "../src/telemetry/logger.ts";
import { type BenchContext, type BenchSet, type Figure, medianFigure, percentileFigure } from "./bench-set.ts";

const FOREIGN_RULES = 2_000;
const IDLE_SECONDS = 10;
const REPAIRS_PER_ROUND = 10;
const modes = ["nftables", "iptables-nft"] as const;
type Mode = (typeof modes)[number];

const network = parsePrefix("10.5.0.0/16");
const inputs: RuleInputs = {
  families: [{ network, subnet: parsePrefix("10.5.34.0/24") }],
  masquerade: true,
  randomFully: true,
  forward: true,
  excludedPrefixes: [],
};

interface Samples {
  readonly writeMs: number[];
  readonly restartMs: number[];
  readonly repairMs: number[];
  readonly idleCpuMs: number[];
  readonly idleProcesses: number[];
}

export const rulesSet: BenchSet = {
  name: "rules",
  title: `traffic rules beside ${FOREIGN_RULES.toLocaleString("en")} of others`,
  async run(context) {
    await writeForeignRules();
    const figures: Figure[] = [];
    for (const mode of modes) figures.push(...figuresOf(mode, await measure(mode, context)));
    await box.run(["nft", "flush", "ruleset"]);
    return {
      figures,
      notes: [
        "written, unchanged: from the look for the tools until the rules are in the kernel, and known to be; the second\n" +
          `finds them there. Repair: from the start of a flush, which is a program of its own. Idle: ${IDLE_SECONDS} s, times ${60 / IDLE_SECONDS}.`,
      ],
    };
  },
};

async function writeForeignRules(): Promise<void> {
  const rules = Array.from(
    { length: FOREIGN_RULES },
    (_, i) => `-A FOREIGN -s 172.16.${i >> 8}.${i & 255}/32 -j ACCEPT`,
  );
  const input = ["*filter", ":FOREIGN - [0:0]", ...rules, "-A FORWARD -j FOREIGN", "COMMIT", ""].join("\n");
  await box.run(["iptables-restore", "--noflush"], { input });
}

async function measure(mode: Mode, { rounds, progress }: BenchContext): Promise<Samples> {
  const samples: Samples = { writeMs: [], restartMs: [], repairMs: [], idleCpuMs: [], idleProcesses: [] };
  for (let round = 1; round <= rounds; round++) {
    progress(`${mode}: round ${round} of ${rounds}`);
    await flush(mode);
    samples.writeMs.push(await timeStart(mode));
    samples.restartMs.push(await timeStart(mode));
    await using firewall = open(mode);
    await firewall.setDesired(inputs);
    await requireAgreement(firewall);
    await measureIdle(samples);
    for (let i = 0; i < REPAIRS_PER_ROUND; i++) samples.repairMs.push(await timeRepair(mode, firewall));
  }
  return samples;
}

function open(mode: Mode): Firewall {
  return new Firewall({
    preferNftables: mode === "nftables",
    suffix: "",
    networks: [network],
    resyncMs: 5_000,
    logger: silentLogger,
    signal: new AbortController().signal,
  });
}

async function timeStart(mode: Mode): Promise<number> {
  const start = performance.now();
  await using firewall = open(mode);
  await firewall.setDesired(inputs);
  const tookMs = performance.now() - start;
  await requireAgreement(firewall);
  return tookMs;
}

/** A wrong result has no speed. */
async function requireAgreement(firewall: Firewall): Promise<void> {
  const { difference } = await firewall.listing();
  if (difference.length > 0) throw new Error(`the rules are not as wanted:\n${difference.join("\n")}`);
}

async function measureIdle({ idleCpuMs, idleProcesses }: Samples): Promise<void> {
  // What the start left to do, it has done by then.
  await sleep(1_000);
  let processes = 0;
  const count = (): void => {
    processes++;
  };
  subscribe("child_process", count);
  const before = process.cpuUsage();
  await sleep(IDLE_SECONDS * 1_000);
  unsubscribe("child_process", count);
  const { user, system } = process.cpuUsage(before);
  idleCpuMs.push(((user + system) / 1_000) * (60 / IDLE_SECONDS));
  idleProcesses.push(processes * (60 / IDLE_SECONDS));
}

function flush(mode: Mode): Promise<string> {
  const script = "iptables -F FLANNEL-FWD && iptables -t nat -F FLANNEL-POSTRTG";
  return box
    .run(mode === "nftables" ? ["nft", "flush", "chain", "ip", "flannel-ipv4", "postrtg"] : ["sh", "-c", script])
    .catch(() => "");
}

async function timeRepair(mode: Mode, firewall: Firewall): Promise<number> {
  const before = firewall.status().repairs.total;
  const start = performance.now();
  await flush(mode);
  while (firewall.status().repairs.total === before) {
    if (performance.now() - start > 10_000) throw new Error(`${mode}: no repair within 10 s`);
    await sleep(1);
  }
  const tookMs = performance.now() - start;
  // A fight would be fought more slowly; this is no fight.
  await sleep(2_100);
  return tookMs;
}

function figuresOf(mode: Mode, samples: Samples): readonly Figure[] {
  return [
    medianFigure({ name: `${mode}: written`, unit: "ms" }, samples.writeMs),
    medianFigure({ name: `${mode}: unchanged`, unit: "ms" }, samples.restartMs),
    percentileFigure({ name: `${mode}: repair`, unit: "ms", atMost: 1_000 }, 50, samples.repairMs),
    percentileFigure({ name: `${mode}: repair`, unit: "ms", atMost: 1_000 }, 99, samples.repairMs),
    medianFigure({ name: `${mode}: idle CPU a minute`, unit: "ms" }, samples.idleCpuMs),
    medianFigure({ name: `${mode}: idle processes a minute`, unit: "processes", atMost: 0 }, samples.idleProcesses),
  ];
}
