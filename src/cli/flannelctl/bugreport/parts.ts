// What a bug report is made of: each part a file, from a program of this host, from a file, or from what flannelctl knows.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { arch, hostname, version as kernelVersion, release } from "node:os";
import { join } from "node:path";
import type { z } from "zod";
import { controlPaths } from "../../../agent/control/control-paths.ts";
import { metricsSchema, planSchema, rulesSchema, statusSchema } from "../../../agent/control/control-protocol.ts";
import { historySchema, peersSchema } from "../../../agent/control/journal-protocol.ts";
import type { Lease } from "../../../lease/lease.ts";
import { readSmallFile } from "../../../sys/files.ts";
import { findTool, tryTool } from "../../../sys/run-tool.ts";
import { commit, version as flannelVersion } from "../../../version.ts";
import { diagnose } from "../doctor/diagnose.ts";
import { fixLogIn } from "../doctor/fix-log.ts";
import type { KnownHost } from "../doctor/known-host.ts";
import { askAgent } from "../session/control-client.ts";
import type { Invocation } from "../session/invocation.ts";

export interface Part {
  /** In the archive. */
  readonly file: string;
  /** How a person gets the same. */
  readonly command: string;
  /** Default `PART_LIMIT_MS`. */
  readonly limitMs?: number;
  gather(): Promise<PartContent> | PartContent;
}

export interface PartContent {
  readonly text: string;
  readonly exitCode?: number;
}

/** For each part; a program that takes longer is ended. */
export const PART_LIMIT_MS = 5_000;
/** It bounds each of its looks; on a busy host these come one after the other. */
const DOCTOR_LIMIT_MS = 20_000;
const MAX_FILE_BYTES = 512 * 1_024;
const LOG_LINES = "2000";
/** Those in trouble come first. */
const MAX_NETWORKS = 16;

/** `networks`: of this host, one at least. */
export function reportParts(invocation: Invocation, networks: readonly [KnownHost, ...KnownHost[]]): Part[] {
  const [known] = networks;
  return [
    ...ownParts(invocation, known),
    ...networks.slice(0, MAX_NETWORKS).flatMap((each) => networkFiles(each)),
    ...agentParts(invocation, known),
    ...fileParts(invocation, known),
    ...networkParts(),
    ...ruleParts(),
    ...hostParts(),
  ];
}

function ownParts(invocation: Invocation, known: KnownHost): Part[] {
  return [
    part("versions.json", "uname -a; flannelctl version", () => json(versions(known))),
    {
      ...part("doctor.json", "flannelctl doctor --json", async () => json((await diagnose(invocation)).output)),
      limitMs: DOCTOR_LIMIT_MS,
    },
  ];
}

/** In a directory of its own where this host has several. */
function networkFiles({ state, peers, network, subnetFile }: KnownHost): Part[] {
  const directory = network === undefined ? "" : `networks/${network.replaceAll(/[^\w.-]/g, "_")}/`;
  const option = network === undefined ? "" : ` --network ${network}`;
  return [
    part(`${directory}leases.json`, `flannelctl${option} lease list --json`, () =>
      json({ own: state === undefined ? undefined : shownLease(state.own), peers: peers.map(shownLease) }),
    ),
    part(`${directory}config.json`, `flannelctl${option} config get`, () => ({
      text: needText(state?.configText, "no configuration is remembered"),
    })),
    ...(network === undefined
      ? []
      : [
          part(`${directory}subnet.env`, `cat ${subnetFile}`, () => ({
            text: readSmallFile(subnetFile, MAX_FILE_BYTES),
          })),
        ]),
  ];
}

function shownLease({ key, subnet, ipv6Subnet, attributes, isReservation }: Lease): Record<string, unknown> {
  return { key, subnet, ipv6Subnet, isReservation, ...attributes };
}

function versions({ status }: KnownHost): Record<string, unknown> {
  return {
    flannelctl: flannelVersion,
    commit,
    flanneld: status?.agent.version,
    node: process.version,
    host: hostname(),
    kernel: { release: release(), version: kernelVersion(), architecture: arch() },
    osRelease: readOr("/etc/os-release"),
  };
}

function agentParts({ options: { socketPaths }, signal }: Invocation, { status, silence }: KnownHost): Part[] {
  const ask = async (path: string, schema: z.ZodType) => {
    if (status === undefined) throw new Error(silence ?? "no agent answers");
    return json(
      await askAgent<unknown>(socketPaths, { method: "GET", path, schema, timeoutMs: PART_LIMIT_MS }, signal),
    );
  };
  const pid = status?.agent.pid;
  return [
    // Of all networks: what is known here is of one.
    part("status.json", "flannelctl status --json", () => ask(controlPaths.status, statusSchema)),
    part("plan.json", "flannelctl plan --json", () => ask(controlPaths.plan, planSchema)),
    part("rules.json", "flannelctl rules --json", () => ask(controlPaths.rules, rulesSchema)),
    part("metrics.json", "the agent's metrics", () => ask(controlPaths.metrics, metricsSchema)),
    part("journal.json", "flannelctl history --json", () => ask(controlPaths.history, historySchema)),
    part("peers.json", "flannelctl peers --json", () => ask(controlPaths.peers, peersSchema)),
    ...(pid === undefined
      ? []
      : [
          part("agent/command-line.txt", `cat /proc/${pid}/cmdline`, () => ({
            text: readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", "\n"),
          })),
          part("agent/environment.txt", `cat /proc/${pid}/environ`, () => ({
            text: flannelVariables(`/proc/${pid}/environ`),
          })),
          ...["status", "limits", "mountinfo", "cgroup"].map((name) =>
            part(`agent/${name}.txt`, `cat /proc/${pid}/${name}`, () => ({
              text: readFileSync(`/proc/${pid}/${name}`, "utf8"),
            })),
          ),
        ]),
    tool("log.txt", "journalctl", "-u", "flanneld", "-n", LOG_LINES, "--no-pager", "-o", "short-iso-precise"),
  ];
}

/** All others are nobody's business. */
function flannelVariables(path: string): string {
  return readFileSync(path, "utf8")
    .split("\0")
    .filter((line) =>
      /^(FLANNEL|KUBERNETES_SERVICE|NODE_NAME|POD_|NODE_OPTIONS|PATH=|HTTPS?_PROXY|NO_PROXY)/i.test(line),
    )
    .join("\n");
}

function fileParts({ options }: Invocation, { subnetFile, stateDirectory }: KnownHost): Part[] {
  const files = [
    ["files/subnet.env", subnetFile],
    ["files/flanneld.env", options.paths.envFile],
    ...(existsSync(fixLogIn(stateDirectory)) ? [["files/doctor-fixes.json", fixLogIn(stateDirectory)] as const] : []),
    ["files/net-conf.json", options.kubernetes?.netConfigFile ?? ""],
    ["files/resolv.conf", "/etc/resolv.conf"],
  ] as const;
  const cni = listOf("/etc/cni/net.d").map((name) => [`files/cni/${name}`, join("/etc/cni/net.d", name)] as const);
  return [
    ...[...files, ...cni.slice(0, 20)]
      .filter(([, path]) => path !== "")
      .map(([file, path]) => part(file, `cat ${path}`, () => ({ text: readSmallFile(path, MAX_FILE_BYTES) }))),
    part("files/directories.txt", "ls -l", () => ({
      text: [
        stateDirectory,
        "/run/flannel",
        options.cniStateDirectory,
        join(options.cniStateDirectory, "networks"),
        "/etc/cni/net.d",
      ]
        .map((path) => `${path}:\n${listing(path)}`)
        .join("\n\n"),
    })),
  ];
}

function listing(directory: string): string {
  return listOf(directory)
    .map((name) => {
      const found = statSync(join(directory, name), { throwIfNoEntry: false });
      const mode = ((found?.mode ?? 0) & 0o7777).toString(8).padStart(4, "0");
      return `${mode} ${String(found?.size ?? "?").padStart(9)} ${found?.mtime.toISOString() ?? "?"} ${name}`;
    })
    .join("\n");
}

function networkParts(): Part[] {
  const ip = (file: string, ...words: string[]) => tool(`network/${file}.json`, "ip", ...words);
  return [
    ip("link", "-d", "-s", "-j", "link", "show"),
    ip("addr", "-d", "-j", "addr", "show"),
    ip("route", "-d", "-j", "route", "show", "table", "all"),
    ip("route6", "-d", "-j", "-6", "route", "show", "table", "all"),
    ip("rule", "-j", "rule", "show"),
    ip("rule6", "-j", "-6", "rule", "show"),
    ip("neigh", "-s", "-j", "neigh", "show"),
    ip("nexthop", "-j", "nexthop", "show"),
    ip("netns", "-j", "netns", "list-id"),
    tool("network/fdb.json", "bridge", "-s", "-j", "fdb", "show"),
    tool("network/bridge-link.json", "bridge", "-d", "-j", "link", "show"),
    tool("network/qdisc.json", "tc", "-s", "-j", "qdisc", "show"),
    tool("network/sockets.txt", "ss", "-uanpe"),
    tool("network/xfrm.txt", "ip", "-s", "xfrm", "policy"),
  ];
}

function ruleParts(): Part[] {
  return [
    tool("rules/nft.json", "nft", "-a", "-j", "list", "ruleset"),
    tool("rules/nft.txt", "nft", "-a", "list", "ruleset"),
    ...["iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"].map((name) =>
      tool(`rules/${name}.txt`, name, "-c"),
    ),
    tool("rules/ebtables-save.txt", "ebtables-save", "-c"),
  ];
}

const counterFiles = [
  "netstat",
  "snmp",
  "snmp6",
  "sockstat",
  "softnet_stat",
  "stat/nf_conntrack",
  "stat/arp_cache",
  "xfrm_stat",
];
const sysctls = [
  "net/ipv4/ip_forward",
  "net/ipv4/icmp_echo_ignore_all",
  "net/ipv4/ip_forward_use_pmtu",
  "net/ipv4/neigh/default/gc_thresh3",
  "net/netfilter/nf_conntrack_count",
  "net/netfilter/nf_conntrack_max",
  "net/bridge/bridge-nf-call-iptables",
  "net/ipv6/conf/all/forwarding",
];
const perDevice = ["forwarding", "rp_filter", "arp_ignore", "arp_announce", "proxy_arp", "disable_ipv6", "accept_ra"];

function hostParts(): Part[] {
  return [
    part("host/counters.txt", "cat /proc/net/{netstat,snmp,…}", () => ({
      text: counterFiles.map((name) => `# /proc/net/${name}\n${readOr(`/proc/net/${name}`)}`).join("\n"),
    })),
    part("host/sysctl.txt", "sysctl -a", () => ({ text: sysctlLines().join("\n") })),
    part("host/modules.txt", "cat /proc/modules", () => ({ text: readFileSync("/proc/modules", "utf8") })),
    part("host/locks.txt", "cat /proc/locks", () => ({ text: readFileSync("/proc/locks", "utf8") })),
    tool("host/disks.txt", "df", "-h"),
    tool("host/inodes.txt", "df", "-i"),
    tool("host/uptime.txt", "uptime"),
    tool("host/clock.txt", "timedatectl", "show"),
    tool("host/kernel-log.txt", "dmesg", "-T", "--level=emerg,alert,crit,err,warn"),
  ];
}

function sysctlLines(): string[] {
  const devices = ["ipv4", "ipv6"].flatMap((family) =>
    listOf(`/proc/sys/net/${family}/conf`).flatMap((device) =>
      perDevice.map((key) => `net/${family}/conf/${device}/${key}`),
    ),
  );
  return [...sysctls, ...devices].flatMap((key) => {
    const value = readOr(`/proc/sys/${key}`).trim();
    return value === "" ? [] : [`${key} = ${value}`];
  });
}

function part(file: string, command: string, gather: Part["gather"]): Part {
  return { file, command, gather };
}

function tool(file: string, name: string, ...words: string[]): Part {
  return part(file, [name, ...words].join(" "), async () => {
    const path = findTool(name);
    if (path === undefined) throw new Error(`this host has no program ${name}`);
    const { stdout, stderr, exitCode } = await tryTool(path, words, "", PART_LIMIT_MS);
    return { text: stdout === "" ? stderr : stdout, exitCode };
  });
}

function json(value: unknown): PartContent {
  return { text: `${JSON.stringify(value, undefined, 1)}\n` };
}

function needText(text: string | undefined, otherwise: string): string {
  if (text === undefined) throw new Error(otherwise);
  return text;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function listOf(path: string): readonly string[] {
  try {
    return readdirSync(path).toSorted();
  } catch {
    return [];
  }
}
