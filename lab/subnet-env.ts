// Reads subnet.env as the tools around flannel do: `KEY=value` lines. Written apart from the agent's own reader, so
// that the two check each other.
import { readFile } from "node:fs/promises";

export interface SubnetEnv {
  readonly network: string | undefined;
  /** The bridge's address with length: `10.5.34.1/24`. */
  readonly subnet: string | undefined;
  readonly ipv6Network: string | undefined;
  readonly ipv6Subnet: string | undefined;
  readonly mtuBytes: number;
  readonly ipMasq: boolean;
}

/** Throws when a line that container tools depend on is missing or malformed. */
function parseSubnetEnv(text: string): SubnetEnv {
  const values = new Map<string, string>();
  for (const line of text.split("\n").filter((part) => part !== "")) {
    const match = /^(FLANNEL_[A-Z0-9_]+)=(\S*)$/.exec(line);
    if (match === null) throw new Error(`subnet.env: not a KEY=value line: ${JSON.stringify(line)}`);
    values.set(match[1] ?? "", match[2] ?? "");
  }
  const mtuBytes = Number(values.get("FLANNEL_MTU"));
  if (!Number.isInteger(mtuBytes) || mtuBytes <= 0) throw new Error(`subnet.env: no usable FLANNEL_MTU in:\n${text}`);
  if (!values.has("FLANNEL_SUBNET") && !values.has("FLANNEL_IPV6_SUBNET")) {
    throw new Error(`subnet.env: neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET in:\n${text}`);
  }
  return {
    network: values.get("FLANNEL_NETWORK"),
    subnet: values.get("FLANNEL_SUBNET"),
    ipv6Network: values.get("FLANNEL_IPV6_NETWORK"),
    ipv6Subnet: values.get("FLANNEL_IPV6_SUBNET"),
    mtuBytes,
    ipMasq: values.get("FLANNEL_IPMASQ") === "true",
  };
}

/** As `parseSubnetEnv`, from a file; undefined when there is none yet. */
export async function readSubnetEnv(path: string): Promise<SubnetEnv | undefined> {
  try {
    return parseSubnetEnv(await readFile(path, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
