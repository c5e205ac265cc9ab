// What an upgrade must leave alone on a host, as text to be compared.
import { type CommandOptions, run } from "../../lab/command.ts";
import type { Report } from "./report.ts";

export interface HostView {
  readonly subnetEnv: string;
  /** Devices of flannel with their hardware addresses. */
  readonly devices: string;
  /** Their indices: a recreated device has another one. */
  readonly indices: string;
  readonly routes: string;
  /** Traffic rules of all families and tools, without counters. */
  readonly rules: readonly string[];
}

/** Runs a program on the host whose view is wanted. */
export type RunOnHost = (argv: readonly string[], options?: CommandOptions) => Promise<string>;

export async function viewHost(runOnHost: RunOnHost, subnetFile: string): Promise<HostView> {
  const [subnetEnv, linkText, routes, routes6, nft] = await Promise.all([
    run(["cat", subnetFile]),
    runOnHost(["ip", "-json", "link", "show"]),
    runOnHost(["ip", "-4", "route", "show"]),
    runOnHost(["ip", "-6", "route", "show"]),
    // Rules of iptables are in there too.
    runOnHost(["nft", "list", "ruleset"]),
  ]);
  const links = JSON.parse(linkText) as { ifindex: number; ifname: string; address?: string }[];
  const ours = links
    .filter(({ ifname }) => ifname.startsWith("flannel"))
    .sort((a, b) => a.ifname.localeCompare(b.ifname));
  return {
    subnetEnv,
    devices: ours.map(({ ifname, address }) => `${ifname} ${address ?? ""}`).join("\n"),
    indices: ours.map(({ ifname, ifindex }) => `${ifname} ${ifindex}`).join("\n"),
    routes: linesOf(`${routes}\n${routes6}`).sort().join("\n"),
    rules: linesOf(nft.replaceAll(/counter packets \d+ bytes \d+/g, "counter")),
  };
}

/** Rules may be worded differently by another build, but not be doubled or lost. */
export function checkHost(report: Report, step: string, name: string, before: HostView, after: HostView): void {
  report.checkSame(step, `${name} subnet.env`, before.subnetEnv, after.subnetEnv);
  report.checkSame(step, `${name} devices`, before.devices, after.devices);
  report.checkSame(step, `${name} routes`, before.routes, after.routes);
  const [was, is] = [before.rules.length, after.rules.length];
  const wording = before.rules.join("\n") === after.rules.join("\n") ? "same words" : "other words";
  report.check(
    step,
    `${name} traffic rules`,
    was === is,
    was === is ? `${is} lines, ${wording}` : `${was} lines, now ${is}`,
  );
}

/** For a host that was not rebooted. */
export function checkNotRemade(report: Report, step: string, name: string, before: HostView, after: HostView): void {
  report.checkSame(step, `${name} device indices`, before.indices, after.indices);
}

function linesOf(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "");
}
