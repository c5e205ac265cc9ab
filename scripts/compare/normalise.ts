// What differs between two runs of the same program, replaced by placeholders. Every replacement stands here with its
// reason, so that all that is not named here is compared to the letter. Pure.
import type { Capture } from "./capture.ts";

/** An address that the kernel or the agent chose at random, and whose it is: `h1 flannel.1`. */
export interface KnownAddress {
  /** A hardware address, or an IPv6 link-local one. */
  readonly address: string;
  readonly owner: string;
}

export interface NormaliseOptions {
  readonly addresses: readonly KnownAddress[];
  /** Where the build is that printed the text. */
  readonly buildDirectory: string;
}

type Replacement = readonly [why: string, pattern: RegExp, by: string];

const replacements: readonly Replacement[] = [
  ["the process is another one", /\(pid \d+/g, "(pid <pid>"],
  ["the same in JSON", /"pid": ?\d+/g, '"pid": <pid>'],
  ["the moment of the run", /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "<time>"],
  ["iptables-save dates its output", /^# (Generated|Completed)( by .*)? on .*$/gm, "# $1$2 on <time>"],
  ["packets that chains have counted, among them the kernel's own", /\[\d+:\d+\]/g, "[<counter>]"],
  ["the same for rules of nftables", /counter packets \d+ bytes \d+/g, "counter <counter>"],
  [
    "how long ago something was, or when it will be, is the machine's speed",
    /\b\d+ (d|h|min|s)( \d+ (h|min|s))?\b/g,
    "<duration>",
  ],
  ["the same in JSON", /"((age|expiresIn)Seconds)": ?[\d.]+/g, '"$1": <duration>'],
  ["etcd chooses the ids of its leases at random", /"(storeLeaseId|lease|id)": ?"\d{10,}"/g, '"$1": "<lease id>"'],
  ["what the kernel makes the link-local address of a TUN device from", /(stable_secret = )[0-9a-f:]+/g, "$1<secret>"],
  [
    "kept for a device that the network does not have (yet)",
    /"(vtepMac|vtepMacV6)": ?"[0-9a-f:]{17}"/g,
    '"$1": "<mac of no device>"',
  ],
  [
    "how often the agent has tried until we look is the machine's speed; 0 says that it did not try",
    /"attempts": ?[1-9]\d*/g,
    '"attempts": <attempts>',
  ],
  ["the same in text", /tried [1-9]\d*×/g, "tried <attempts>×"],
];

/** The text of a capture as it is compared. */
export function normalise({ text, isSet }: Capture, options: NormaliseOptions): string {
  let result = text.replaceAll(options.buildDirectory, "<build>");
  for (const known of options.addresses) result = replaceAddress(result, known);
  for (const [, pattern, by] of replacements) result = result.replaceAll(pattern, by);
  return isSet === true ? sortLines(result) : result;
}

/** Afterwards, since the order may be that of what was replaced. */
function sortLines(text: string): string {
  const lines = text.split("\n").filter((line) => line !== "");
  return `${lines.sort().join("\n")}\n`;
}

/** Groups of neighbour discovery end like the address of the device. */
function replaceAddress(text: string, { address, owner }: KnownAddress): string {
  if (address.startsWith("fe80::")) return text.replaceAll(address, `<link-local ${owner}>`);
  const [end, placeholder] = [`33:33:ff:${address.slice(9)}`, `33:33:ff:<end of mac ${owner}>`];
  return text.replaceAll(address, `<mac ${owner}>`).replaceAll(end, placeholder);
}
