// A host that carries packets as flannel's first proxy did, one for each system call, and knows nothing but the wire
// format: for mixed networks and as the measure of the udp backend. Compiled when first used.
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { compiled } from "./compiled.ts";
import type { LabHost } from "./host.ts";
import type { SubnetEnv } from "./subnet-env.ts";
import { until } from "./wait.ts";

export interface OnePacketPeerOptions {
  /** `10.5.2.0/24`. */
  readonly subnet: string;
  /** `10.5.0.0/16`. */
  readonly network: string;
  /** Subnet to host. */
  readonly peers: ReadonlyMap<string, string>;
  /** Default 8285. */
  readonly port?: number;
  /** Default as upstream's: `flannel%d`, of which the kernel takes the first free name. */
  readonly device?: string;
  /** The address of this host that others send to. Default: that on the LAN. */
  readonly address?: string;
}

const source = fileURLToPath(new URL("one-packet-proxy.c", import.meta.url));
const overheadBytes = 28;
export class OnePacketPeer implements AsyncDisposable {
  readonly host: LabHost;
  readonly subnetEnv: SubnetEnv;
  /** The one it got. */
  readonly device: string;
  readonly #child: ChildProcess;

  private constructor(host: LabHost, subnetEnv: SubnetEnv, device: string, child: ChildProcess) {
    this.device = device;
    this.host = host;
    this.subnetEnv = subnetEnv;
    this.#child = child;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  static async start(host: LabHost, options: OnePacketPeerOptions): Promise<OnePacketPeer> {
    const mtuBytes = host.mtuBytes - overheadBytes;
    const [address = ""] = options.subnet.split("/");
    const argv = [
      await compiled(source),
      ...[
        options.device ?? "flannel%d",
        options.address ?? host.ipv4 ?? "",
        String(options.port ?? 8285),
        address,
        String(mtuBytes),
      ],
      ...[...options.peers].map(([subnet, ip]) => `${subnet}=${ip}`),
    ];
    const child = host.namespace.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const gateway = options.subnet.replace(/\.0\//, ".1/");
    const env: SubnetEnv = {
      network: options.network,
      subnet: gateway,
      ipv6Network: undefined,
      ipv6Subnet: undefined,
      mtuBytes,
      ipMasq: false,
    };
    await until(() => said.includes("\n"), { what: `the one-packet proxy on ${host.name}` });
    const device = said.trim().replace("ready ", "");
    const peer = new OnePacketPeer(host, env, device, child);
    await host.namespace.ipBatch([`addr add ${address}/32 dev ${device}`, `link set dev ${device} mtu ${mtuBytes} up`]);
    // Upstream, too, takes a route that is there already for its own.
    const added = await host.namespace.tryRun(["ip", "route", "add", options.network, "dev", device]);
    if (added.exitCode !== 0 && !added.stderr.includes("File exists")) throw new Error(added.stderr);
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGKILL");
    await closed;
  }
}
