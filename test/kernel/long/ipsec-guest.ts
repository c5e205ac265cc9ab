// Runs on a kernel that has ESP: two hosts as namespaces, each with charon and its policies as the agent keeps them, then damaged
// and healed. Prints one line of JSON for each question; ipsec-kernel.test.ts asks and judges.
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RuntimeServices } from "../../../src/backend/backend.ts";
import { startIpsec } from "../../../src/backend/ipsec/ipsec-runtime.ts";
import { createBackend, parseConfig } from "../../../src/backend/registry.ts";
import { Reconciler } from "../../../src/host/reconcile/reconciler.ts";
import { parseAddress, parsePrefix } from "../../../src/ip/address.ts";
import type { Lease } from "../../../src/lease/lease.ts";
import { hasKernelEsp } from "../../../src/netlink/xfrm/xfrm-control.ts";
import { silentLogger } from "../../../src/telemetry/logger.ts";
import { revision } from "../../support/revision.ts";
import { tell, timeOfLook } from "./guest.ts";

const run = (...argv: string[]): string => execFileSync(argv[0] ?? "", argv.slice(1), { encoding: "utf8" });

const WAIT_MS = 60_000;
const config = JSON.stringify({ Network: "10.5.0.0/16", Backend: { Type: "ipsec", PSK: "s".repeat(96) } });

function leaseOf(host: number): Lease {
  return {
    key: `10.5.${host}.0-24`,
    subnet: parsePrefix(`10.5.${host}.0/24`),
    revision: revision(host),
    createdAt: revision(host),
    isReservation: false,
    adapterData: 1,
    attributes: { publicIp: parseAddress(`192.168.1.${host}`), backendType: "ipsec" },
  };
}

/** What an agent does for the backend, and nothing else. */
async function keep(host: number): Promise<void> {
  // Neither of the two keeps a process alive.
  setInterval(() => undefined, 60_000);
  const { signal } = new AbortController();
  const address = parseAddress(`192.168.1.${host}`);
  const externalInterface = { name: "e", index: 2, mtuBytes: 1500, isUp: true, address, publicIp: address };
  const facts = {
    externalInterface,
    identity: undefined,
    directPeers: new Set<never>(),
    occupied: [],
    hasKernelEsp: hasKernelEsp(),
  };
  const backend = createBackend(parseConfig(config).config);
  const plan = backend.plan({ subnet: parsePrefix(`10.5.${host}.0/24`) }, [leaseOf(3 - host)], facts);
  const reconciler = await Reconciler.open({
    devices: [],
    ownedNetworks: [parsePrefix("10.5.0.0/16")],
    logger: silentLogger,
    signal,
  });
  const { failures } = await reconciler.setDesired(plan.state, { prune: true });
  const services = { logger: silentLogger, onChange: () => undefined } as Partial<RuntimeServices> as RuntimeServices;
  const runtime = await startIpsec(services);
  await runtime.apply(plan.runtime as Parameters<typeof runtime.apply>[0], { isComplete: true });
  tell(`host ${host}`, {
    failures,
    esp: facts.hasKernelEsp,
    mtu: backend.mtuBytes(facts),
    problem: runtime.problem() ?? null,
  });
  process.on("message", () => {
    tell(`status ${host}`, runtime.status());
    process.send?.("told");
  });
  process.send?.("kept");
}

/** Tells how long that took, with what a look takes where it is given. */
async function untilTrue(what: string, look: () => boolean, lookMs?: number): Promise<void> {
  const startMs = performance.now();
  while (performance.now() - startMs < WAIT_MS) {
    if (look()) {
      tell(what, { healedMs: Math.round(performance.now() - startMs), lookMs });
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  tell(what, "never");
}

const inHost = (host: number, ...argv: string[]) => run("ip", "netns", "exec", `h${host}`, ...argv);
const policies = () => inHost(1, "ip", "xfrm", "policy");
const ping = (count: number, interval = "0.2") =>
  inHost(1, "ping", "-q", "-c", String(count), "-i", interval, "-W", "5", "-I", "10.5.1.1", "10.5.2.1");
const tryPing = () => {
  try {
    return ping(1).includes(" 0% packet loss");
  } catch {
    return false;
  }
};
const charonOf = (host: number) => readFileSync(`/run/own-${host}/charon.pid`, "utf8").trim();

async function main(): Promise<void> {
  for (const host of [1, 2]) run("ip", "netns", "add", `h${host}`);
  run("ip", "link", "add", "e", "netns", "h1", "type", "veth", "peer", "name", "e", "netns", "h2");
  const children = [];
  for (const host of [1, 2]) {
    const commands = [
      `ip link set lo up; ip link set e up; ip addr add 192.168.1.${host}/24 dev e; ip addr add 10.5.${host}.1/32 dev lo`,
      `ip route add default via 192.168.1.${3 - host}; mkdir -p /run/own-${host}`,
    ];
    inHost(host, "sh", "-c", commands.join("; "));
  }
  for (const host of [1, 2]) {
    const script = `mount --bind /run/own-${host} /run && exec '${process.execPath}' '${fileURLToPath(import.meta.url)}' ${host}`;
    const argv = ["netns", "exec", `h${host}`, "unshare", "--mount", "--propagation=private", "sh", "-c", script];
    const child = spawn("ip", argv, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    children.push(child);
  }
  await Promise.all(children.map((child) => new Promise((resolve) => child.once("message", resolve))));
  await untilTrue("connected", tryPing);
  tell("ping", ping(5));
  tell("states", inHost(1, "ip", "-s", "xfrm", "state"));
  const before = policies();
  tell("policies", before);
  const damages: readonly (readonly [string, ...string[]])[] = [
    ["policy deleted", "policy", "delete", "src", "10.5.1.0/24", "dst", "10.5.2.0/24", "dir", "out"],
    ["policies flushed", "policy", "flush"],
  ];
  const sorted = (text: string) =>
    text
      .split(/\n(?=src)/)
      .map((block) => block.trim())
      .sort()
      .join("\n");
  const isWhole = () => sorted(policies()) === sorted(before);
  const lookMs = await timeOfLook(() => Promise.resolve(isWhole()));
  for (const [what, ...words] of damages) {
    inHost(1, "ip", "xfrm", ...words);
    await untilTrue(what, isWhole, lookMs);
  }
  tell("ping after the damage", ping(3));
  const first = charonOf(1);
  const traffic = spawn(
    "ip",
    ["netns", "exec", "h1", "ping", "-q", "-i", "0.05", "-w", "6", "-I", "10.5.1.1", "10.5.2.1"],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  // On a slow guest it ends before another charon is there.
  const ended = new Promise((resolve) => traffic.once("close", resolve));
  let summary = "";
  traffic.stdout.setEncoding("utf8").on("data", (text: string) => {
    summary += text;
  });
  run("kill", "-9", first);
  await untilTrue("another charon", () => {
    try {
      return charonOf(1) !== first;
    } catch {
      return false;
    }
  });
  await ended;
  tell("ping while charon was killed", summary);
  tell("ping with the new charon", ping(3));
  for (const child of children) child.send("status");
  await Promise.all(children.map((child) => new Promise((resolve) => child.once("message", resolve))));
  for (const child of children) child.kill("SIGKILL");
}

const host = Number(process.argv[2] ?? 0);
if (host === 0) await main();
else await keep(host);
