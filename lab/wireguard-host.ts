// WireGuard in user space on lab hosts. Hosts of the lab share file systems, and a program's socket bears the name of its
// device alone: so each host gets a directory for sockets and keys of its own, which agent and `wg` see in its usual place.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LabHost } from "./host.ts";

const launcher = fileURLToPath(new URL("../bin/flanneld", import.meta.url));
const usualDirectory = "/var/run/wireguard";

export interface WgPeer {
  readonly publicKey: string;
  readonly presharedKey: string;
  /** `(none)` or `192.168.100.2:51820`. */
  readonly endpoint: string;
  readonly allowedIps: readonly string[];
  /** Seconds since 1970; 0: none. */
  readonly lastHandshake: number;
  readonly keepalive: string;
}

function ownDirectory(host: LabHost): string {
  const directory = join(host.runDirectory, "wireguard");
  mkdirSync(directory, { recursive: true });
  mkdirSync(usualDirectory, { recursive: true });
  return directory;
}

/** What the host sees as /etc/wireguard. */
function ownConfigurations(host: LabHost): string {
  const directory = join(host.runDirectory, "wireguard-etc");
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** The command line that runs `argv` where the host's sockets are in their usual place. */
function withSockets(host: LabHost, argv: readonly string[]): readonly string[] {
  const [own, configurations] = [ownDirectory(host), ownConfigurations(host)];
  const script = `mount --bind '${own}' ${usualDirectory} && mount --bind '${configurations}' /etc/wireguard && exec "$@"`;
  return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", ...argv];
}

/** For `LabAgent.start`: the shipped agent, with sockets of the host's own. */
export function wireguardAgent(host: LabHost): { readonly program: readonly string[]; readonly keyFile: string } {
  return { program: withSockets(host, [launcher]), keyFile: join(ownDirectory(host), "key") };
}

/** `wg` with these words on the host. */
export function wg(host: LabHost, ...words: readonly string[]): Promise<string> {
  return host.namespace.run(withSockets(host, ["wg", ...words]));
}

/** Brings up `NAME` on the host as its user would: key and configuration in /etc/wireguard, then `wg-quick up`. */
export async function wgQuickUp(host: LabHost, name: string, privateKey: string, text: string): Promise<void> {
  const directory = ownConfigurations(host);
  writeFileSync(join(directory, `${name}.key`), privateKey, { mode: 0o600 });
  writeFileSync(join(directory, `${name}.conf`), text, { mode: 0o600 });
  await host.namespace.run(withSockets(host, ["wg-quick", "up", name]));
}

/** What `wg show DEVICE dump` tells. */
export async function wgDump(
  host: LabHost,
  device: string,
): Promise<{ readonly publicKey: string; readonly port: number; readonly peers: readonly WgPeer[] }> {
  const [first = "", ...rest] = (await wg(host, "show", device, "dump")).trimEnd().split("\n");
  const [, publicKey = "", port = ""] = first.split("\t");
  const peers = rest.map((line): WgPeer => {
    const [key = "", presharedKey = "", endpoint = "", allowed = "", handshake = "", , , keepalive = ""] =
      line.split("\t");
    const allowedIps = allowed === "(none)" ? [] : allowed.split(",");
    return { publicKey: key, presharedKey, endpoint, allowedIps, lastHandshake: Number(handshake), keepalive };
  });
  return { publicKey, port: Number(port), peers };
}
