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
export function withSockets(host: LabHost, argv: readonly string[]): readonly string[] {
  const [own, configurations] = [ownDirectory(host), ownConfigurations(host)];
  const script = `mount --bind '${own}' ${usualDirectory} && mount --bind '${configurations}' /etc/wireguard && exec "$@"`;
  return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", ...argv];
}

/** For `LabAgent.start`: an agent, the shipped one by default, with sockets of the host's own. */
export function wireguardAgent(
  host: LabHost,
  program = launcher,
): { readonly program: readonly string[]; readonly keyFile: string } {
  return { program: withSockets(host, [program]), keyFile: join(ownDirectory(host), "key") };
}

/** Where the program that serves the device listens, as the lab sees it. */
export function socketFile(host: LabHost, device: string): string {
  return join(ownDirectory(host), `${device}.sock`);
}

/** `wg` with these words on the host. */
export function wg(host: LabHost, ...words: readonly string[]): Promise<string> {
  return host.namespace.run(withSockets(host, ["wg", ...words]));
}

/** Starts the program that serves the device, as nobody else does yet. */
export async function startWireguardGo(host: LabHost, device: string): Promise<void> {
  await host.namespace.run(withSockets(host, ["wireguard-go", device]));
}

/** Milliseconds that `wg` with these words takes, without what it takes to get to the host. */
export async function wgTimed(host: LabHost, ...words: readonly string[]): Promise<number> {
  const script = 'TIMEFORMAT=%R; time wg "$@"';
  const { stderr, exitCode } = await host.namespace.tryRun(withSockets(host, ["bash", "-c", script, "bash", ...words]));
  const seconds = Number(stderr.trim().split("\n").at(-1));
  if (exitCode === 0 && seconds > 0) return seconds * 1_000;
  throw new Error(`wg ${words.join(" ")}: ${stderr}`);
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
