// The Kubernetes adapter of the port SubnetStore: the podCIDRs of Nodes are the leases, flannel's annotations what hosts
// announce. Same requests, annotations and meaning as upstream's `--kube-subnet-mgr`.
import { FlannelError } from "../../errors.ts";
import type { Address } from "../../ip/address.ts";
import type { ApiAccess } from "../../kube-api/api-access.ts";
import { ApiClient } from "../../kube-api/api-client.ts";
import { openAccess } from "../../kube-api/open-access.ts";
import { usualWatchTimings, type WatchNews, type WatchTimings, watchObjects } from "../../kube-api/watch-objects.ts";
import { bufferedChanges } from "../../lease/buffered-changes.ts";
import type { Lease, LeaseAttributes, LeaseChange, OwnLease, Revision } from "../../lease/lease.ts";
import type { LeaseChangeBuffer } from "../../lease/lease-change-buffer.ts";
import { ResolvedHosts } from "../../sys/resolved-hosts.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { KubernetesStoreOptions } from "../store-options.ts";
import type {
  AcquireOutcome,
  HostAddresses,
  HostRecord,
  LeaseRequest,
  NetworkConfigDocument,
  SubnetStore,
} from "../subnet-store.ts";
import { followNodes } from "./follow-nodes.ts";
import { KubernetesRevision } from "./kubernetes-revision.ts";
import { listNodeLeases } from "./list-node-leases.ts";
import { NetConfigFile } from "./net-config-file.ts";
import { annotationNamesOf, NodeApi } from "./node-api.ts";
import { readNodeLease } from "./node-lease.ts";
import { NodeLeases } from "./node-leases.ts";
import type { NodeRecord } from "./node-record.ts";
import { NodeReport } from "./node-report.ts";
import { OwnNode } from "./own-node.ts";

/** So often at most the reader learns that the server answers. */
const CONTACT_EVERY_MS = 1_000;

export interface KubernetesStoreServices {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly logger: Logger;
  /** Shorter in tests. */
  readonly timings?: WatchTimings;
}

export class KubernetesSubnetStore implements SubnetStore {
  readonly description: string;
  readonly warnings: readonly string[];
  readonly host: HostRecord;
  readonly #addresses: ResolvedHosts;
  readonly #api: NodeApi;
  readonly #own: OwnNode;
  readonly #report: NodeReport;
  readonly #configFile: NetConfigFile;
  readonly #timings: WatchTimings;
  readonly #logger: Logger;
  #isAlloc = false;
  #saidMissing = "";

  private constructor(options: KubernetesStoreOptions, access: ApiAccess, services: KubernetesStoreServices) {
    const { env, version, logger, timings = usualWatchTimings } = services;
    const client = new ApiClient(access, env, `flanneld/${version}`);
    const reached = [...access.servers, ...(access.proxy === undefined ? [] : [access.proxy])];
    this.#addresses = new ResolvedHosts(reached.map(({ hostname }) => hostname.replace(/^\[|\]$/g, "")));
    this.#api = new NodeApi(client, annotationNamesOf(options));
    this.#own = new OwnNode(this.#api, options, logger);
    this.#report = new NodeReport(this.#api, this.#own, options.setsNodeCondition, logger);
    this.#configFile = new NetConfigFile(options.netConfigFile);
    this.#timings = timings;
    this.#logger = logger;
    this.description = `${access.description}, annotations ${options.annotationPrefix}`;
    this.warnings = access.warnings;
    this.host = this.#hostRecord();
  }

  /** Reads kubeconfig files; connects at the first call. Throws `CONFIG_INVALID`. */
  static async open(
    options: KubernetesStoreOptions,
    services: KubernetesStoreServices,
  ): Promise<KubernetesSubnetStore> {
    if (options.nodeName === undefined && options.pod === undefined) {
      throw new FlannelError(
        "CONFIG_INVALID",
        "the Node of this host is not known: set the environment variable NODE_NAME, or POD_NAME and POD_NAMESPACE",
      );
    }
    return new KubernetesSubnetStore(options, await openAccess(options, services.env), services);
  }

  /** Of the API servers; those that are Nodes announce their own as well. */
  addresses(): readonly Address[] {
    return this.#addresses.current();
  }

  async networkConfig(): Promise<NetworkConfigDocument> {
    // What is planned from it must know them.
    await this.#addresses.ready;
    return this.#configFile.read();
  }

  watchNetworkConfig(after: Revision, signal: AbortSignal): AsyncIterable<NetworkConfigDocument | undefined> {
    return this.#configFile.watch(after, signal);
  }

  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<{ lease: OwnLease; outcome: AcquireOutcome }> {
    this.#isAlloc = request.config.backendType === "alloc";
    const acquired = await this.#own.acquire(request, signal);
    this.#logMissingFamily(request, acquired.lease);
    return acquired;
  }

  renew(lease: OwnLease, attributes: LeaseAttributes, signal: AbortSignal): Promise<OwnLease> {
    return this.#own.renew(lease, attributes, signal);
  }

  list(signal: AbortSignal): Promise<readonly Lease[]> {
    return listNodeLeases(this.#api, signal);
  }

  watch(signal: AbortSignal): AsyncGenerator<LeaseChange, void, undefined> {
    return bufferedChanges((buffer, inner) => this.#fill(buffer, inner), signal);
  }

  reconnect(): void {
    this.#api.client.reconnect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#own[Symbol.dispose]();
    await this.#report[Symbol.asyncDispose]();
    await this.#api.client[Symbol.asyncDispose]();
  }

  async #fill(buffer: LeaseChangeBuffer, signal: AbortSignal): Promise<void> {
    const ownName = this.#own.knownName ?? "";
    const peers = new NodeLeases(this.#api.names);
    let contactAtMs = Number.NEGATIVE_INFINITY;
    const take = (news: WatchNews<NodeRecord>): void => {
      const isFollowed = news.type !== "contact" && this.#follow(news, ownName, peers, buffer);
      if (news.type === "disconnected") contactAtMs = Number.NEGATIVE_INFINITY;
      else if (!isFollowed && performance.now() - contactAtMs >= CONTACT_EVERY_MS) {
        contactAtMs = performance.now();
        buffer.pushSign({ type: "contact", revision: new KubernetesRevision(news.resourceVersion) });
      }
    };
    const room = () => buffer.waitForRoom(signal);
    const [api, timings, logger] = [this.#api, this.#timings, this.#logger];
    if (!this.#isAlloc) return await followNodes({ api, ownName, timings, logger, take, room }, signal);
    // The backend alloc needs no peers: only our own Node is watched, as upstream watches none.
    for await (const news of watchObjects(api.client, api.target(ownName), signal, timings)) take(news);
  }

  /** Returns whether it was news for the reader. */
  #follow(
    news: Exclude<WatchNews<NodeRecord>, { type: "contact" }>,
    ownName: string,
    peers: NodeLeases,
    buffer: LeaseChangeBuffer,
  ): boolean {
    if (news.type === "disconnected") {
      buffer.pushSign(news);
      return true;
    }
    const revision = new KubernetesRevision(news.resourceVersion);
    if (news.type === "list") {
      const own = news.objects.find(({ name }) => name === ownName);
      const isOtherStore = news.isOtherStore === true;
      const stands = this.#own.follow(own, news.resourceVersion, isOtherStore);
      const { leases, unreadable } = peers.replace(news.objects.filter(({ name }) => name !== ownName));
      const { lease } = this.#own;
      const all = stands && lease !== undefined ? [lease, ...leases] : leases;
      buffer.pushSnapshot({
        type: "snapshot",
        leases: all,
        unreadable,
        revision,
        ...(isOtherStore && { isOtherStore }),
      });
      return true;
    }
    const { object, type } = news;
    if (object.name === ownName) {
      if (this.#own.follow(type === "delete" ? undefined : object, news.resourceVersion)) return false;
      buffer.pushEvents([{ event: { type: "delete", key: ownName, revision } }], revision);
      return true;
    }
    const change = type === "delete" ? peers.remove(object.name, news.resourceVersion) : peers.put(object);
    if (change !== undefined) buffer.pushEvents([change], revision);
    return change !== undefined;
  }

  #hostRecord(): HostRecord {
    const own = this.#own;
    return {
      read: async (signal) => {
        const record = await own.read(signal);
        const read = readNodeLease(this.#api.names, record);
        const announced = read === "unmanaged" || "reason" in read ? undefined : read.lease.attributes;
        return { addresses: own.demanded(), ...(announced !== undefined && { announced }) };
      },
      remembered: ({ adapterData }) => rememberedAddresses(adapterData),
      untilChanged: async (known, signal) => {
        while (!signal.aborted && (own.record === undefined || isSame(own.demanded(), known))) {
          await own.untilSeen(signal);
        }
      },
      problem: () => own.problem(),
      report: (news) => this.#report.follow(news),
    };
  }

  #logMissingFamily({ config }: LeaseRequest, { subnet, ipv6Subnet, key }: OwnLease): void {
    const missing =
      config.ipv4 !== undefined && subnet === undefined
        ? "IPv4"
        : config.ipv6 !== undefined && ipv6Subnet === undefined
          ? "IPv6"
          : "";
    if (missing !== "" && missing !== this.#saidMissing) {
      const message = `the network has ${missing}, but Node ${key} has no podCIDR of it: serving the other family alone`;
      this.#logger.warn("node.family-missing", message);
    }
    this.#saidMissing = missing;
  }
}

function isSame(a: HostAddresses, b: HostAddresses): boolean {
  return a.publicIp === b.publicIp && a.publicIpv6 === b.publicIpv6;
}

/** Checked by the codec when they were read from disk. */
function rememberedAddresses(adapterData: unknown): HostAddresses {
  if (typeof adapterData !== "object" || adapterData === null || !("demanded" in adapterData)) return {};
  return adapterData.demanded as HostAddresses;
}
