// One host of the lab: a network namespace with eth0 on a LAN of the box, as flannel would find a real machine.
import { Namespace } from "./namespace.ts";

/** A LAN is a bridge in the box's own namespace; its first address is the router and where the stores listen. */
export interface LanSegment {
  readonly bridge: string;
  readonly ipv4Gateway: string | undefined;
  readonly ipv6Gateway: string | undefined;
}

export interface LabHostOptions {
  readonly name: string;
  readonly segment: LanSegment;
  readonly ipv4: string | undefined;
  readonly ipv6: string | undefined;
  readonly mtuBytes: number;
}

export class LabHost {
  /** `h1`: also the name of its port on the LAN's bridge. */
  readonly name: string;
  readonly namespace: Namespace;
  readonly segment: LanSegment;
  /** Address on the LAN, without length. Follows `changeAddress`. */
  ipv4: string | undefined;
  ipv6: string | undefined;
  readonly mtuBytes: number;

  constructor(options: LabHostOptions) {
    this.name = options.name;
    this.namespace = new Namespace(options.name);
    this.segment = options.segment;
    this.ipv4 = options.ipv4;
    this.ipv6 = options.ipv6;
    this.mtuBytes = options.mtuBytes;
  }

  /** Files of this host's agent; the box's /run is a memory file system. */
  get runDirectory(): string {
    return `/run/flannel/${this.name}`;
  }

  /** `ip` lines that give eth0 its addresses and default routes: at start, and again after the link was down. */
  addressLines(): readonly string[] {
    const lines: string[] = [];
    if (this.ipv4 !== undefined) lines.push(`addr replace ${this.ipv4}/24 dev eth0`);
    if (this.ipv6 !== undefined) lines.push(`addr replace ${this.ipv6}/64 dev eth0 nodad`);
    if (this.segment.ipv4Gateway !== undefined && this.ipv4 !== undefined) {
      lines.push(`route replace default via ${this.segment.ipv4Gateway} dev eth0`);
    }
    if (this.segment.ipv6Gateway !== undefined && this.ipv6 !== undefined) {
      lines.push(`route replace default via ${this.segment.ipv6Gateway} dev eth0`);
    }
    return lines;
  }

  /** The switches a container host needs, set by hand since defaults differ between kernels and distributions. */
  async prepare(): Promise<void> {
    await this.namespace.ipBatch([`link set dev eth0 mtu ${this.mtuBytes} up`, ...this.addressLines()]);
    await this.namespace.sysctl({
      "net.ipv4.ip_forward": 1,
      "net.ipv4.conf.all.rp_filter": 0,
      "net.ipv4.conf.default.rp_filter": 0,
      "net.ipv4.conf.eth0.rp_filter": 0,
      "net.ipv6.conf.all.forwarding": 1,
    });
  }
}
