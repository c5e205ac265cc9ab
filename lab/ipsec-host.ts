// strongSwan on lab hosts. Hosts of the lab share file systems, and charon's socket and pid file have fixed names in /run: so
// each host's programs see a /run of their own, with links to everything else that is in the box's.
import type { ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LabHost } from "./host.ts";
import { until } from "./wait.ts";

const launcher = fileURLToPath(new URL("../bin/flanneld", import.meta.url));

/** Where charon of the host has its socket and its pid, as everybody else sees it. */
function ownRun(host: LabHost): string {
  const directory = join(host.runDirectory, "ipsec-run");
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** The command line that runs `argv` where /run is the host's own. */
export function withOwnRun(host: LabHost, argv: readonly string[]): readonly string[] {
  const script =
    `mount --rbind /run /mnt && mount --bind '${ownRun(host)}' /run && ` +
    `for each in /mnt/*; do [ -e "/run/\${each#/mnt/}" ] || ln -s "$each" /run/; done; exec "$@"`;
  return ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", ...argv];
}

/** For `LabAgent.start`: the shipped agent, or another launcher. */
export function ipsecAgent(host: LabHost, flanneld = launcher): { readonly program: readonly string[] } {
  return { program: withOwnRun(host, [flanneld]) };
}

/** `swanctl` with these words on the host. */
export function swanctl(host: LabHost, ...words: readonly string[]): Promise<string> {
  return host.namespace.run(withOwnRun(host, ["swanctl", ...words]));
}

/** Names of the connections that the host's charon has, sorted. */
export async function connectionsOf(host: LabHost): Promise<readonly string[]> {
  return (await swanctl(host, "--list-conns")).match(/^\S+(?=: .*reauthentication)/gm)?.sort() ?? [];
}

/** Ends all associations of the host's charon; agents begin others. */
export async function terminateAssociations(host: LabHost): Promise<void> {
  const listed = (await swanctl(host, "--list-sas")).match(/^\S+(?=: #\d+)/gm) ?? [];
  for (const name of new Set(listed)) {
    // It may have gone by itself.
    await host.namespace.tryRun(withOwnRun(host, ["swanctl", "--terminate", "--force", "--ike", name]));
  }
}

export function charonPidOf(host: LabHost): number {
  return Number(readFileSync(join(ownRun(host), "charon.pid"), "utf8"));
}

export interface UpstreamIpsecOptions {
  readonly subnet: string;
  readonly presharedKey: string;
  /** Hosts of the network that upstream would have a connection to. */
  readonly peers: readonly { readonly publicIp: string; readonly subnet: string }[];
}

/**
 * A host as upstream's flanneld makes it: a charon of its own with upstream's connections, which begins associations at once.
 * Since this kernel may lack ESP, charon installs policies and routes by itself; what it says to other hosts is the same.
 * Disposing kills charon.
 */
export class UpstreamIpsecPeer implements AsyncDisposable {
  readonly #host: LabHost;
  readonly #options: UpstreamIpsecOptions;
  readonly #charon: ChildProcess;

  private constructor(host: LabHost, options: UpstreamIpsecOptions, charon: ChildProcess) {
    this.#host = host;
    this.#options = options;
    this.#charon = charon;
  }

  /** With an address of its own in its subnet: `10.5.3.0/24` gives 10.5.3.1. */
  static async start(host: LabHost, options: UpstreamIpsecOptions): Promise<UpstreamIpsecPeer> {
    const config = join(ownRun(host), "upstream.conf");
    writeFileSync(
      config,
      "include /etc/strongswan.conf\ncharon {\n plugins {\n kernel-libipsec {\n load = yes\n }\n }\n}\n",
    );
    await host.namespace.ip("address", "replace", `${options.subnet.replace(/0\/\d+$/, "1")}/32`, "dev", "lo");
    const charon = host.namespace.spawn(withOwnRun(host, ["/usr/lib/ipsec/charon"]), {
      env: { ...process.env, STRONGSWAN_CONF: config },
      stdio: "ignore",
    });
    const peer = new UpstreamIpsecPeer(host, options, charon);
    await until(() => peer.load(options.presharedKey), { what: "upstream's charon to take its connections" });
    return peer;
  }

  /** Loads the connections with this key; an association that failed is restarted. */
  async load(presharedKey: string): Promise<true> {
    const file = join(ownRun(this.#host), "upstream-swanctl.conf");
    writeFileSync(file, swanctlText(this.#host.ipv4 ?? "", { ...this.#options, presharedKey }));
    await swanctl(this.#host, "--load-all", "--clear", "--file", file);
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#charon.exitCode !== null || this.#charon.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#charon.once("close", resolve));
    this.#charon.kill("SIGKILL");
    await ended;
  }
}

function swanctlText(publicIp: string, { subnet, presharedKey, peers }: UpstreamIpsecOptions): string {
  const connections = peers.map(
    (peer, index) => `c${index} {
      local_addrs = ${publicIp}
      remote_addrs = ${peer.publicIp}
      proposals = aes256-sha256-modp4096
      version = 2
      encap = no
      keyingtries = 0
      local { auth = psk }
      remote { auth = psk }
      children { net${index} {
        local_ts = ${subnet}
        remote_ts = ${peer.subnet}
        esp_proposals = aes128gcm16-sha256-prfsha256-ecp256
        start_action = start
        close_action = none
        dpd_action = restart
        mode = tunnel
        rekey_time = 1h
      } } }`,
  );
  const secrets = [publicIp, ...peers.map((peer) => peer.publicIp)].map(
    (owner, index) => `ike-${index} { secret = "${presharedKey}"\n id-1 = ${owner} }`,
  );
  return `connections { ${connections.join("\n")} }\nsecrets { ${secrets.join("\n")} }\n`;
}
