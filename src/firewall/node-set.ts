// The addresses of all nodes as an ipset, for the rules of iptables. The kernel announces no changes to it.
import { type Address, type Family, tryParseAddress } from "../ip/address.ts";
import { rejected, runTool, tryTool } from "../sys/run-tool.ts";

/** Whether the ipset program works with this kernel. */
export async function canUseIpset(path: string): Promise<boolean> {
  const { exitCode } = await tryTool(path, ["list", "-n"]);
  return exitCode === 0;
}

/** One line for the set, one for each member. */
export function nodeSetLines(name: string, family: Family, nodes: readonly Address[]): string[] {
  const type = `hash:ip family ${family === 4 ? "inet" : "inet6"}`;
  return [`ipset create ${name} ${type}`, ...nodes.map((node) => `ipset add ${name} ${node}`)];
}

/** The members; undefined when there is no such set. Throws what the tool says of anything else. */
export async function readNodeSet(path: string, name: string): Promise<readonly Address[] | undefined> {
  const args = ["save", name];
  const result = await tryTool(path, args);
  if (result.exitCode === 0) return parseNodeSet(result.stdout, name);
  if (/does not exist/.test(result.stderr)) return undefined;
  throw rejected(path, args, result);
}

/** Reads `ipset save`. */
export function parseNodeSet(text: string, name: string): Address[] {
  const start = `add ${name} `;
  return text
    .split("\n")
    .filter((line) => line.startsWith(start))
    .map((line) => tryParseAddress(line.slice(start.length).split(" ")[0] ?? ""))
    .filter((address) => address !== undefined)
    .sort();
}

/** Makes the set if need be, and changes only the members that differ. */
export async function writeNodeSet(
  path: string,
  name: string,
  family: Family,
  wanted: readonly Address[],
  found: readonly Address[] | undefined,
): Promise<void> {
  const [create = ""] = nodeSetLines(name, family, []);
  const present = new Set(found);
  const lines = [
    ...(found === undefined ? [create.replace(/^ipset /, "")] : []),
    ...wanted.filter((node) => !present.has(node)).map((node) => `add ${name} ${node}`),
    ...(found ?? []).filter((node) => !wanted.includes(node)).map((node) => `del ${name} ${node}`),
  ];
  if (lines.length > 0) await runTool(path, ["-exist", "restore"], `${lines.join("\n")}\n`);
}

/** Leaves it alone while rules in the other kind of iptables use it. */
export async function destroyNodeSet(path: string, name: string): Promise<void> {
  const args = ["destroy", name];
  const result = await tryTool(path, args);
  if (result.exitCode !== 0 && !result.stderr.includes("in use")) throw rejected(path, args, result);
}
