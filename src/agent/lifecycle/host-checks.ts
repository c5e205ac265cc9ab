// The checks of this host for one network: all of them for a person, and those that the state depends on.
import { type CheckContext, tunnelPortOf } from "../../doctor/check.ts";
import { dropChecks } from "../../doctor/checks/packet-drops.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { PacketDropFinder } from "../../doctor/gather-facts.ts";
import type { HostFacts } from "../../doctor/host-facts.ts";
import type { PlannedWay } from "../../doctor/peer-ways.ts";
import { forwardingFindings, Preflight } from "../../doctor/preflight.ts";
import type { WayReport } from "../../doctor/way-report.ts";
import { WayWatch } from "../../doctor/way-watch.ts";
import type { MonitorMessage } from "../../netlink/rtnetlink/monitor.ts";
import type { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { NetworkContext } from "./check-context.ts";
import type { PeerProbes } from "./peer-probes.ts";

export interface HostChecksOptions {
  /** Stays the caller's. */
  readonly rtnetlink: Rtnetlink;
  readonly findPacketDrops: PacketDropFinder;
  readonly unreadableRules: () => HostFacts["unreadableRules"];
  /** As of now, without `insideDevices`. */
  readonly context: () => NetworkContext;
  readonly logger: Logger;
  /** Stay the caller's; missing: peers are not probed. */
  readonly probes: PeerProbes | undefined;
  /** What the kernel does with packets may be another now. */
  readonly onChange: () => void;
  /** What paths to peers carry is another now. */
  readonly onMtu: () => void;
}

export class HostChecks implements AsyncDisposable {
  readonly #preflight: Preflight;
  readonly #options: HostChecksOptions;
  readonly #ways: WayWatch;

  constructor(options: HostChecksOptions) {
    const { rtnetlink, findPacketDrops, unreadableRules, context, logger, onChange, onMtu } = options;
    this.#options = options;
    this.#preflight = new Preflight(rtnetlink, findPacketDrops, unreadableRules, () => this.#ways.report.findings);
    this.#ways = WayWatch.open({
      networks: context().networks,
      ownDevices: () => context().devices,
      ownSubnets: () => context().ownSubnets,
      tunnelPort: () => tunnelPortOf(context()),
      ...{ rtnetlink, logger },
      onChange,
    });
    options.probes?.link({ onChange, onMtu, onSuspect: (subnets) => this.#ways.suspect(subnets) });
  }

  get probes(): PeerProbes | undefined {
    return this.#options.probes;
  }

  /** What the checks get to know of this host. */
  get context(): CheckContext {
    return this.#context();
  }

  /** Of the latest looks at the ways of packets. */
  get ways(): WayReport {
    return this.#ways.report;
  }

  /** See `WayWatch.setWays`. */
  async setWays(ways: readonly PlannedWay[]): Promise<void> {
    const context = this.#options.context();
    const carried = context.needs.carriesTraffic ? ways : [];
    this.#options.probes?.setWays(carried, context);
    await this.#ways.setWays(carried);
  }

  /** Notifications of the kernel. */
  follow(messages: readonly MonitorMessage[] | "lost"): void {
    if (messages === "lost") this.#ways.lookAtAllSoon();
    else this.#ways.follow(messages);
  }

  /** What stands in the way of packets right now, worst first; throws when the kernel cannot be read. */
  async all(): Promise<Finding[]> {
    await this.#ways.refresh();
    return await this.#preflight.evaluate(this.#context());
  }

  /** Chains of others that drop flannel's packets. */
  packetDrops(): Promise<Finding[]> {
    return this.#preflight.evaluate(this.#context(), dropChecks);
  }

  /** Families in use that the kernel does not forward, and devices that do not. Reads a few files. */
  forwardingOff(): Finding[] {
    return forwardingFindings(this.#context());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#ways[Symbol.asyncDispose]();
  }

  #context(): CheckContext {
    return { ...this.#options.context(), insideDevices: this.#ways.insideDevices };
  }
}
